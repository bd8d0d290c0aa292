// What tests read from a description of routes.
export interface Description {
  readonly openapi: string
  readonly paths: Readonly<Record<string, { readonly get: { readonly responses: Readonly<Record<string, { readonly content?: Content }>> } }>>
  readonly components: { readonly responses: { readonly error: { readonly content: Content } } }
}

export type Content = Readonly<Record<string, { readonly schema: Record<string, unknown> }>>

/** What a route says of its answers with that status; of any other, that they are errors. */
export const schemaOf = ({ paths, components }: Description, path: string, status: number): Content =>
  paths[path]?.get.responses[String(status)]?.content ?? components.responses.error.content
