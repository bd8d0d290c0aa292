// Results of a transformation that the main thread writes: those without jobs, and why a segment is set aside.
import { isTaken } from '../store/store-error.ts'
import type { Store } from '../store/store.ts'

/**
 * Whatever is there by that name was made by an attempt of this process that was told that it had failed, perhaps when there
 * was more to be read: it stands. Were it tried for ever, no later segment of this instance would be published.
 */
export const publishOnce = async (store: Store, name: string, bytes: Buffer): Promise<void> => {
  try {
    await store.publish(name, bytes)
  } catch (error) {
    if (!isTaken(error)) throw error
  }
}
