// Which file system a directory is on, and with which options: /proc/self/mountinfo, read. Pure.

export interface Mount {
  readonly point: string
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}

/** mountinfo writes space, tab, line feed and backslash of a name as three octal digits. */
const unescape = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))

/** The mount a path is on, null where the text names none. The path must be absolute and free of symbolic links. */
export const findMount = (mountinfo: string, path: string): Mount | null => {
  let best: Mount | null = null
  for (const line of mountinfo.split('\n')) {
    const [left, right] = line.split(' - ')
    if (left === undefined || right === undefined) continue
    const fields = left.split(' ')
    const [type, source, superOptions] = right.split(' ')
    const point = unescape(fields[4] ?? '')
    const covers = point === '/' || path === point || path.startsWith(`${point}/`)
    // Of two mounts at one point the later one covers the earlier.
    if (point === '' || !covers || (best !== null && point.length < best.point.length)) continue
    const options = [...(fields[5] ?? '').split(','), ...(superOptions ?? '').split(',')].filter((option) => option !== '')
    best = { point, type: type ?? '', source: unescape(source ?? ''), options: [...new Set(options)] }
  }
  return best
}

/** Options of NFS under which data is lost or hidden: time-outs become errors of writes, or closing no longer publishes. */
const harmful = ['soft', 'softerr', 'nocto']

export interface MountVerdict {
  readonly ok: boolean
  readonly detail: string
  readonly remedy?: string
}

export const judgeMount = (mount: Mount): MountVerdict => {
  const what = `${mount.type} from ${mount.source} at ${mount.point}`
  if (mount.options.includes('ro')) return { ok: false, detail: `${what} is mounted read-only`, remedy: 'mount it read-write' }
  if (mount.type === 'nfs' || mount.type === 'nfs4') {
    const found = harmful.filter((option) => mount.options.includes(option))
    if (found.length === 0) return { ok: true, detail: what }
    return {
      ok: false,
      detail: `${what} is mounted with ${found.join(', ')}: data can be lost or hidden from other hosts`,
      remedy: "mount it with 'hard,cto' (both are the default)",
    }
  }
  if (mount.type === 'tmpfs' || mount.type === 'ramfs') {
    return { ok: true, detail: `${what} is memory: not stable storage`, remedy: 'use it for trials alone' }
  }
  return { ok: true, detail: what }
}
