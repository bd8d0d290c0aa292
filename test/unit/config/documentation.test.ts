// docs/configuration.md holds the tables of src/config/table.ts between marks. UPDATE_DOCS=1 writes them.
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { documentedTables } from '../../../src/config/render.ts'

const file = new URL('../../../docs/configuration.md', import.meta.url)

const between = (name: string): RegExp => new RegExp(`(<!-- keys: ${name} -->\\n)([^]*?)(\\n<!-- end -->)`)

if (process.env['UPDATE_DOCS'] === '1') {
  let text = readFileSync(file, 'utf8')
  for (const [name, table] of documentedTables())
    text = text.replace(between(name), (_all, start: string, _old, end: string) => start + table + end)
  writeFileSync(file, text)
}

it.each([...documentedTables()])('documents every key of %s with its default', (name, table) => {
  const found = between(name).exec(readFileSync(file, 'utf8'))
  expect(found?.[2], `no marks for "${name}" in docs/configuration.md`).toBe(table)
})

it('documents no table that there is not', () => {
  const marks = [...readFileSync(file, 'utf8').matchAll(/<!-- keys: (.*?) -->/g)].map((match) => match[1])
  expect(marks).toEqual([...documentedTables().keys()])
})
