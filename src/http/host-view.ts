// What this process says of itself over HTTP, without asking the store. The app fills it in; routes only read it.

import type { IngestStats } from '../base/native.ts'
import type { InstancePresence } from '../observe/instance.ts'
import type { LeaderBooks } from '../submit/messages.ts'

export interface HostView {
  readonly host: string
  readonly version: string
  readonly configDigest: string
  /** ISO 8601: when the process began. */
  readonly started: string
  /** The instance that lives now; null: between two. */
  readonly instance: () => InstanceView | null
  /** Why this host may neither accept nor lead; null: it may. */
  readonly refusal: () => string | null
  /** It has been told to stop. */
  readonly stopping: () => boolean
}

export interface InstanceView {
  readonly name: string
  readonly accepted: number
  readonly presence: Omit<InstancePresence, 'beat' | 'at'> | null
  readonly stats: IngestStats | null
  readonly books: LeaderBooks | null
}

export interface Check {
  readonly name: string
  readonly ok: boolean
  /** Whether being ready hangs on it. */
  readonly needed: boolean
  readonly detail: string
}

/** Followers are ready: they accept. Whether a host may lead is shown, and nothing hangs on it. */
export const readiness = (view: HostView): { ready: boolean; checks: Check[] } => {
  const instance = view.instance()
  const presence = instance?.presence ?? null
  const refusal = view.refusal()
  const accepting = presence?.accepting ?? false
  const leads = presence?.role === 'leader'
  const checks: Check[] = [
    { name: 'running', ok: !view.stopping(), needed: true, detail: view.stopping() ? 'this host is shutting down' : `since ${view.started}` },
    { name: 'allowed', ok: refusal === null, needed: true, detail: refusal ?? 'the store passes its checks, and this host is admitted' },
    {
      name: 'accepting',
      ok: accepting,
      needed: true,
      detail: accepting ? `on ${presence?.listen ?? ''}` : instance === null || presence === null ? 'no instance has begun' : presence.reason,
    },
    {
      name: 'eligible',
      ok: presence?.eligible ?? false,
      needed: false,
      detail: leads ? `leads in term ${presence.term ?? '?'}` : (presence?.eligible ?? false) ? 'may lead' : (presence?.reason ?? 'no instance has begun'),
    },
  ]
  return { ready: checks.every(({ ok, needed }) => ok || !needed), checks }
}
