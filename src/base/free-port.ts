// Whether an address can be listened on now, for those who must know before they begin, or whose server doesn't say why it can't.
import { createServer } from 'node:net'

/** Rejects with what `errorOf` makes of the failure where nobody can listen there now. Port 0 takes any free one. */
export const proveFree = async ({ host, port }: { readonly host: string; readonly port: number }, errorOf: (error: unknown) => Error): Promise<void> => {
  if (port === 0) return
  const probe = createServer()
  await new Promise<void>((resolve, reject) => {
    probe.once('error', (error) => reject(errorOf(error)))
    probe.listen({ host, port }, () => probe.close(() => resolve()))
  })
}
