// Why a job is where it is, in one sentence: what the trace of the job says about its past, joined with who is on the store
// now. explain() is pure; why() reads what it needs.

import { fullJitter } from '../base/clock.ts'
import { lookAtInstances } from '../hosts/present.ts'
import type { Looked } from '../hosts/present.ts'
import { parseSegment } from '../store/layout.ts'
import type { Store } from '../store/store.ts'
import { conflictReason } from './books.ts'
import { findLeader, whyNobodyLeads } from './survey.ts'
import type { Leader } from './survey.ts'
import { trace } from './trace.ts'
import type { Trace, TraceStep } from './trace.ts'

export interface Why {
  readonly id: string
  /** As in Trace, but for what is only intended by a leader that is gone: that is in doubt. */
  readonly state: string
  /** Plain words, one sentence, the state first. */
  readonly sentence: string
  readonly cluster: string | null
  readonly jobId: string | null
  /** Since when it is where it is, ISO 8601. */
  readonly since: string | null
  /** How often the cluster didn't take it. */
  readonly postponed: number
  /** What the cluster, or whoever else decided, said last. */
  readonly reason: string | null
  /** Who is to take the next step; null: nobody leads. */
  readonly leader: { readonly host: string; readonly instance: string; readonly term: number } | null
  /** A command that an operator may want; null: nothing is to be done. */
  readonly command: string | null
}

/** The store at this moment. */
export interface World {
  readonly leader: Leader | null
  readonly instances: readonly Looked[]
  readonly nowMs: number
  /** Of the configuration that the reader has, which the leader's is likely to be. */
  readonly retryMinMs: number
  readonly retryMaxMs: number
}

/** Null: no such job in this store. */
export const why = async (store: Store, id: string, retry: { readonly retryMinMs: number; readonly retryMaxMs: number }): Promise<Why | null> => {
  const found = await trace(store, id)
  if (found === null) return null
  const instances = await lookAtInstances(store)
  return explain(found, { leader: await findLeader(store, instances), instances, nowMs: Date.now(), ...retry })
}

type Finding = Pick<Why, 'state' | 'since' | 'sentence'> & Partial<Pick<Why, 'command' | 'reason'>>

export const explain = (whole: Trace, world: World): Why => {
  const { found, others } = withoutOthers(whole)
  const { id, steps } = found
  const { leader } = world
  const finding = find(found, world)
  return {
    id,
    cluster: found.cluster?.name ?? null,
    jobId: found.cluster?.jobId ?? null,
    postponed: steps.filter(({ step }) => step === 'postponed').length,
    leader: leader === null ? null : { host: leader.host, instance: leader.instance, term: leader.term },
    reason: null,
    command: null,
    ...finding,
    sentence: finding.sentence + others,
  }
}

/** Of several jobs that came with one id the first is meant; what became of the others is said at the end. */
const withoutOthers = (whole: Trace): { found: Trace; others: string } => {
  if (!whole.steps.some(({ step }) => step === 'admitted')) return { found: whole, others: '' }
  const isConflict = ({ step, detail }: TraceStep): boolean => step === 'refused' && detail === conflictReason
  const steps = whole.steps.filter((one) => one.step !== 'duplicate' && !isConflict(one))
  const duplicates = whole.steps.filter(({ step }) => step === 'duplicate').length
  const conflicts = whole.steps.filter(isConflict).length
  const said = [
    ...(duplicates > 0 ? [`it was accepted ${duplicates + 1} times and counts once`] : []),
    ...(conflicts > 0 ? ['another job came with its id and other content, and is a dead letter (id_conflict)'] : []),
  ]
  return { found: { ...whole, steps }, others: said.map((text) => `; ${text}`).join('') }
}

const find = (found: Trace, world: World): Finding => {
  const { id, state, steps, cluster } = found
  const last = (...names: string[]): TraceStep | undefined => steps.findLast(({ step }) => names.includes(step))
  const where = clusterIn(found)
  switch (state) {
    case 'waiting':
      return last('admitted') === undefined ? onItsWay(found, world) : waiting(found, world)
    case 'submitting':
    case 'in doubt':
      return undecided(found, world)
    case 'dead': {
      const refused = last('refused')
      const reason = refused?.detail ?? ''
      if (reason === conflictReason) {
        return { state, since: refused?.at ?? null, reason, command: `usher dead discard ${id}`, sentence: `dead: ${reason}; it can only be discarded, and has to be sent again under a new id` }
      }
      const sentence = `dead: ${where} refused it for good when it was submitted${by(refused)}: ${reason}; 'usher dead retry ${id}' submits it again`
      return { state, since: refused?.at ?? null, reason, command: `usher dead retry ${id}`, sentence }
    }
    case 'submitted':
    case 'ended': {
      const decided = last('submitted', 'resolved')
      const how = `submitted to ${where}${cluster?.jobId == null ? '' : ` as ${cluster.jobId}`}${by(decided)}`
      const end = last('ended')
      if (state === 'ended') return { state, since: end?.at ?? null, reason: end?.detail ?? null, sentence: `ended: ${end?.detail ?? ''}; it was ${how}` }
      const held = decided?.detail?.split('; ').includes('held') === true && last('released') === undefined
      return { state, since: decided?.at ?? null, sentence: `${how}${held ? ', held until it is released' : ''}` }
    }
    case 'discarded': {
      const given = last('discarded')
      return { state, since: given?.at ?? null, reason: given?.detail ?? null, sentence: `discarded: ${given?.detail ?? 'by an operator'}` }
    }
    case 'duplicate': {
      const known = last('duplicate')
      return { state, since: known?.at ?? null, sentence: 'duplicate: a job with this id and content was accepted before, and that one counts' }
    }
    case 'set aside': {
      const aside = last('set aside')
      const reason = aside?.detail ?? ''
      return { state, since: aside?.at ?? null, reason, sentence: `set aside with its segment ${aside?.segment ?? ''}, which can't be transformed: ${reason}` }
    }
    default:
      return { state, since: steps.at(-1)?.at ?? null, sentence: state }
  }
}

/** The only record of the cluster's name may be gone or damaged. */
const clusterIn = ({ cluster }: Trace): string => (cluster === null ? 'its cluster' : `cluster ${cluster.name}`)

const by = (step: TraceStep | undefined): string =>
  step === undefined ? '' : ` by ${step.host}${step.term === undefined ? '' : ` in term ${step.term}`} at ${step.at}`

/** Accepted, and not in the ledger yet. */
const onItsWay = ({ steps }: Trace, world: World): Finding => {
  const accepted = steps.find(({ step }) => step === 'accepted')
  const transformed = steps.findLast(({ step }) => step === 'transformed')
  const since = (transformed ?? accepted ?? steps.at(-1))?.at ?? null
  const owner = parseSegment(accepted?.segment ?? steps[0]?.segment ?? '')?.instance ?? ''
  const looked = world.instances.find(({ instance }) => instance === owner)
  const done = `accepted on ${accepted?.host ?? '?'} at ${accepted?.at ?? '?'}${transformed === undefined ? ', not yet transformed' : ' and transformed'}`
  const rest =
    transformed !== undefined ? (leaderless(world) ?? `${world.leader?.host} leads and admits it next`)
    : looked?.alive === true ? `its instance ${owner} is at work on it`
    : (leaderless(world) ?? adoption(owner, looked, world))
  return { state: 'waiting', since, sentence: `waiting: ${done}; ${rest}` }
}

/** When the leader takes an instance for gone that isn't provenly dead: src/submit/instances.ts. */
const adoption = (owner: string, looked: Looked | undefined, { leader, nowMs }: World): string => {
  const presence = looked?.presence ?? null
  const leads = `${leader?.host}, which leads,`
  if (presence === null || presence.role === 'ended') return `its instance ${owner} is gone, and ${leads} has it adopted`
  const silentMs = nowMs - Date.parse(presence.at)
  const goneAfterMs = presence.acceptLeaseMs * 1.1 + (leader?.leaseMs ?? 0)
  const leftMs = goneAfterMs - silentMs
  return leftMs > 0
    ? `its instance ${owner} is silent for ${inWords(silentMs)}, and ${leads} has it adopted in at most about ${inWords(leftMs)}`
    : `its instance ${owner} is gone, and ${leads} has it adopted`
}

/** In the ledger, and not with the cluster. */
const waiting = (found: Trace, world: World): Finding => {
  const { steps } = found
  const where = clusterIn(found)
  const last = steps.findLast(({ term }) => term !== undefined)
  const since = last?.at ?? null
  const postponed = steps.filter(({ step }) => step === 'postponed')
  const refusal = last?.step === 'postponed' ? last : undefined
  const tried = refusal === undefined ? '' : `${where} didn't take it when it was last asked${by(refusal)}: ${refusal.detail ?? ''}; tried ${times(postponed.length)}`
  const said = { state: 'waiting', since, reason: refusal?.detail ?? null }
  const nobody = leaderless(world)
  if (nobody !== null) return { ...said, sentence: `waiting: ${nobody}${tried === '' ? '' : `; ${tried}`}` }
  const leader = world.leader!
  const reason = world.instances.find(({ instance }) => instance === leader.instance)?.presence?.reason ?? ''
  const own = reason.includes(`${where}: `) ? reason : ''
  if (own !== '') return { ...said, reason: own, sentence: `waiting: ${leader.host}, which leads, can't submit to ${where} now: ${own}${tried === '' ? '' : `; ${tried}`}` }
  if (refusal !== undefined) {
    // The longest that the leader waits between two attempts; what remains of it now.
    const longestMs = fullJitter(postponed.filter(({ term }) => term === refusal.term).length - 1, world.retryMinMs, world.retryMaxMs, () => 1)
    const leftMs = Math.max(0, Date.parse(refusal.at) + longestMs - world.nowMs)
    return { ...said, sentence: `waiting: ${tried}, and ${leftMs < 1000 ? 'tried again any moment' : `tried again in at most about ${inWords(leftMs)}`}` }
  }
  const again =
    last?.step === 'forgotten' ? `; ${where} had lost it`
    : last?.step === 'retried' ? '; an operator wants it tried again'
    : last?.step === 'resolved' ? `; ${last.detail ?? ''}`
    : ''
  return { ...said, sentence: `waiting for its turn at ${where}: ${leader.host} leads in term ${leader.term} and submits in the order of admission${again}` }
}

/** An intent, and no outcome. */
const undecided = (found: Trace, world: World): Finding => {
  const { id, steps } = found
  const where = clusterIn(found)
  const doubt = steps.findLast(({ step }) => step === 'in doubt')
  const intent = steps.findLast(({ step }) => step === 'intent')
  const { leader } = world
  if (found.state === 'submitting' && leader !== null && leader.term === intent?.term) {
    return { state: 'submitting', since: intent.at, sentence: `submitting: ${intent.host} is handing it to ${where} in term ${leader.term}, since ${intent.at}` }
  }
  const died = found.state === 'submitting'
  const since = died ? (intent?.at ?? null) : (doubt?.at ?? null)
  const reason = died ? `${intent?.host ?? '?'}'s submitter ended between intent and receipt in term ${intent?.term ?? '?'}` : (doubt?.detail ?? '')
  const next = leader === null ? leaderless(world)! : `${leader.host}, which leads, asks ${where} whether it has it`
  const sentence = `in doubt since ${since ?? '?'}: ${reason}; ${next}; where nobody can tell, 'usher resolve ${id} --as submitted' or '--as absent' decides`
  return { state: 'in doubt', since, reason, command: `usher resolve ${id}`, sentence }
}

/** Why nothing goes on; null: somebody leads. */
const leaderless = ({ leader, instances }: World): string | null => {
  if (leader !== null) return null
  const reasons = whyNobodyLeads(instances)
  return reasons.length === 0 ? 'nobody leads: no usher runs on this store' : `nobody leads: ${reasons.join('; ')}`
}

const times = (count: number): string => (count === 1 ? 'once' : `${count} times`)

/** Whole seconds, or minutes: it is about. */
const inWords = (ms: number): string => {
  const seconds = Math.max(1, Math.round(ms / 1000))
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`
}

