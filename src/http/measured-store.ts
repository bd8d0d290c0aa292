// The store with a clock beside it: every operation is told to whoever counts them, by what it is called and how long it
// took, whether it succeeded or not. Changes nothing else.

import type { Appender, Presence, Store } from '../store/store.ts'

type Tell = (op: string, ms: number) => void

const measured = async <T>(op: string, tell: Tell, work: () => Promise<T>): Promise<T> => {
  const began = performance.now()
  try {
    return await work()
  } finally {
    tell(op, performance.now() - began)
  }
}

export const measuredStore = (store: Store, tell: Tell): Store => ({
  publish: (name, bytes) => measured('publish', tell, () => store.publish(name, bytes)),
  prepare: (name, bytes) => measured('prepare', tell, () => store.prepare(name, bytes)),
  claim: (name, privateName, options) => measured('claim', tell, () => store.claim(name, privateName, options)),
  list: (directory) => measured('list', tell, () => store.list(directory)),
  listPrivate: (directory) => measured('list', tell, () => store.listPrivate(directory)),
  read: (name) => measured('read', tell, () => store.read(name)),
  readRange: (name, offset, bytesMax) => measured('read', tell, () => store.readRange(name, offset, bytesMax)),
  readTail: (name, bytes) => measured('read', tell, () => store.readTail(name, bytes)),
  exists: (name) => measured('look', tell, () => store.exists(name)),
  fileOf: (name) => measured('look', tell, () => store.fileOf(name)),
  remove: (name) => measured('remove', tell, () => store.remove(name)),
  removeDirectory: (name) => measured('remove', tell, () => store.removeDirectory(name)),
  makeDirectory: (name) => measured('make_directory', tell, () => store.makeDirectory(name)),
  createAppender: async (name) => measuredAppender(await store.createAppender(name), tell),
  openPresence: async (name) => measuredPresence(await store.openPresence(name), tell),
  readPresence: (name) => measured('read', tell, () => store.readPresence(name)),
  freeBytes: () => store.freeBytes(),
})

const measuredAppender = (appender: Appender, tell: Tell): Appender => ({
  name: appender.name,
  get syncedBytes() {
    return appender.syncedBytes
  },
  append: (bytes) => measured('append', tell, () => appender.append(bytes)),
  close: () => appender.close(),
})

const measuredPresence = (presence: Presence, tell: Tell): Presence => ({
  name: presence.name,
  write: (value) => measured('presence', tell, () => presence.write(value)),
  close: () => presence.close(),
})
