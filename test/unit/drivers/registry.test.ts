import { expect, test } from 'vitest'
import { createDriver, type DriverConfig, driverKinds } from '../../../src/submit/drivers/registry.ts'
import { contextIn, job, never, newId, origin } from './jobs.ts'

const smallest: Record<DriverConfig['driver'], DriverConfig> = {
  local: { driver: 'local' },
  slurm: { driver: 'slurm' },
  http: { driver: 'http', url: 'http://127.0.0.1:1/' },
  command: { driver: 'command', submit: ['true'] },
  discard: { driver: 'discard' },
}

test.each(driverKinds)('%s is made with nothing but what it must be told', async (kind) => {
  const driver = createDriver(smallest[kind], contextIn('/nowhere'))
  expect(driver.kind).toBe(kind)
  for (const limit of Object.values(driver.limits)) expect(limit).toBeGreaterThanOrEqual(0)
  expect(driver.limits.batchJobsMax * driver.limits.inFlightMax).toBeGreaterThan(0)
  await driver.close()
})

test('an unknown driver is a mistake in the configuration', () => {
  expect(() => createDriver({ driver: 'pbs' } as unknown as DriverConfig, contextIn('/nowhere'))).toThrow(
    /no driver is called 'pbs'/,
  )
  expect(() => createDriver({ driver: 'http', url: 'ftp://x' }, contextIn('/nowhere'))).toThrow(/neither/)
})

test('discard takes everything, knows nothing, and takes no more while paused', async () => {
  const driver = createDriver({ driver: 'discard' }, contextIn('/nowhere'))
  expect(await driver.submit([job({ executable: 'a' }), job({ executable: 'b' })], origin, never)).toEqual(
    [1, 2].map(() => ({ kind: 'submitted', jobId: null })),
  )
  expect(await driver.find?.([newId()], never)).toEqual([{ kind: 'absent' }])
  expect(driver.capacity).toBeUndefined()
  expect(createDriver({ driver: 'discard', pause: true }, contextIn('/nowhere')).capacity?.()).toBe(0)
})
