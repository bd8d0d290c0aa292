// The description of the routes, made from their table: OpenAPI 3.1, whose schemas are JSON Schema 2020-12.

import { z } from 'zod'
import type { Described, Route } from './route.ts'
import { errorShape } from './shapes.ts'

const jsonSchema = (shape: z.ZodType): Record<string, unknown> => {
  const { $schema: _dialect, ...schema } = z.toJSONSchema(shape) as Record<string, unknown>
  return schema
}

const contentOf = ({ schema, type }: Described): Record<string, unknown> =>
  schema === undefined ? { [type ?? 'text/plain']: { schema: { type: 'string' } } } : { 'application/json': { schema: jsonSchema(schema) } }

export const describeRoutes = (routes: readonly Route<never>[], version: string): Record<string, unknown> => {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const { method, path, role, summary, parameters, answers } of routes) {
    const responses: Record<string, unknown> = { default: { $ref: '#/components/responses/error' } }
    for (const [status, described] of Object.entries(answers)) {
      responses[status] = { description: described.description, content: contentOf(described) }
    }
    paths[path] ??= {}
    paths[path][method.toLowerCase()] = {
      summary,
      'x-usher-role': role,
      ...(parameters === undefined ? {} : { parameters: parameters.map((each) => ({ ...each, required: each.in === 'path' })) }),
      responses,
    }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'usher',
      version,
      summary: 'What a host of usher says of itself, of the store, and of jobs.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths,
    components: {
      responses: { error: { description: 'What went wrong, by a code that can be matched.', content: { 'application/json': { schema: jsonSchema(errorShape) } } } },
    },
  }
}
