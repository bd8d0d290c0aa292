// Reads slurmctld's list of all jobs while it arrives. Slurm has no filter for comments, a list of 100,000 jobs is
// hundreds of megabytes of JSON, and only three fields of each job matter: so the bytes are scanned, never collected.
// The list counts only if it is whole: one JSON document to its end, without errors in it.

export interface ListedJob {
  /** Of a task of an array that of the array. */
  readonly jobId: string
  readonly comment: string
}

const quote = 0x22
const backslash = 0x5c
const isContainerStart = (byte: number): boolean => byte === 0x7b || byte === 0x5b
const isContainerEnd = (byte: number): boolean => byte === 0x7d || byte === 0x5d

/** For `{"errors":[…],"jobs":[{"job_id":1,"comment":"…",…},…]}` in any white space and order of keys. */
export class JobListingScanner {
  readonly #onJob: (job: ListedJob) => void
  #depth = 0
  /** Within a string; `#escaped` after its backslash. */
  #inString = false
  #escaped = false
  /** Bytes of the string or number being read, when it is one that matters. */
  #text: number[] | undefined
  /** A string was just read at the place of a key or value; a colon makes it a key. */
  #lastString = ''
  /** The key whose value comes next, per depth 1 and 3 only. */
  #topKey = ''
  #jobKey = ''
  #expectsValue = false
  #jobId = ''
  /** 0 where the job is no part of an array. */
  #arrayId = ''
  #comment = ''
  #ended = false
  #broken = false
  #errors = false
  #jobsSeen = false

  constructor(onJob: (job: ListedJob) => void) {
    this.#onJob = onJob
  }

  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; at += 1) {
      const byte = chunk[at] as number
      if (this.#inString) {
        if (this.#escaped) {
          this.#escaped = false
          this.#text?.push(byte)
        } else if (byte === backslash) {
          this.#escaped = true
          this.#text?.push(byte)
        } else if (byte === quote) {
          this.#inString = false
          this.#stringEnded()
        } else this.#text?.push(byte)
        continue
      }
      if (byte === quote) {
        this.#inString = true
        this.#text = this.#matters() ? [] : undefined
      } else if (isContainerStart(byte)) {
        this.#started(byte)
      } else if (isContainerEnd(byte)) {
        this.#closed()
      } else if (byte === 0x3a) {
        this.#keyed()
      } else if (byte === 0x2c) {
        this.#numberEnded()
        this.#expectsValue = false
      } else if (byte >= 0x30 && byte <= 0x39 && this.#expectsValue && this.#topKey === 'jobs') {
        this.#digit(byte)
      }
    }
  }

  /** Whether what was pushed is a whole listing, after the last push. */
  get complete(): boolean {
    return this.#ended && !this.#broken && !this.#errors && this.#jobsSeen && !this.#inString
  }

  get hasErrors(): boolean {
    return this.#errors
  }

  #digit(byte: number): void {
    if (this.#depth === 3 && this.#jobKey === 'job_id') this.#jobId += String.fromCharCode(byte)
    // From v0.0.39 on the only number in an object that says whether there is one.
    if ((this.#depth === 3 || this.#depth === 4) && this.#jobKey === 'array_job_id') this.#arrayId += String.fromCharCode(byte)
  }

  /** Keys are read at the top and within jobs, and of values only the comment. */
  #matters(): boolean {
    if (!this.#expectsValue) return this.#depth === 1 || (this.#depth === 3 && this.#topKey === 'jobs')
    return this.#depth === 3 && this.#topKey === 'jobs' && this.#jobKey === 'comment'
  }

  #stringEnded(): void {
    if (this.#text === undefined) return
    const raw = Buffer.from(this.#text).toString('utf8')
    this.#text = undefined
    let value = raw
    if (raw.includes('\\')) {
      try {
        value = JSON.parse(`"${raw}"`) as string
      } catch {
        // An escape that JSON doesn't have: the listing can't be trusted.
        this.#broken = true
      }
    }
    if (this.#expectsValue) this.#comment = value
    else this.#lastString = value
  }

  #keyed(): void {
    if (this.#depth === 1) this.#topKey = this.#lastString
    else if (this.#depth === 3) this.#jobKey = this.#lastString
    this.#expectsValue = true
  }

  #started(byte: number): void {
    if (this.#ended || (this.#depth === 0 && byte !== 0x7b)) this.#broken = true
    this.#depth += 1
    this.#expectsValue = false
    if (this.#depth === 2 && this.#topKey === 'jobs') this.#jobsSeen = true
    if (this.#depth === 3 && this.#topKey === 'errors') this.#errors = true
    if (this.#depth === 3 && this.#topKey === 'jobs') {
      this.#jobId = ''
      this.#arrayId = ''
      this.#comment = ''
    }
  }

  #numberEnded(): void {
    // Digits are collected as they come; nothing is pending. A key is used up by its value.
    if (this.#depth === 3) this.#jobKey = ''
  }

  #closed(): void {
    if (this.#depth === 3 && this.#topKey === 'jobs') {
      if (this.#jobId === '') this.#broken = true
      else this.#onJob({ jobId: /[1-9]/.test(this.#arrayId) ? this.#arrayId : this.#jobId, comment: this.#comment })
    }
    this.#depth -= 1
    this.#expectsValue = false
    if (this.#depth === 0) this.#ended = true
    if (this.#depth < 0) this.#broken = true
  }
}

/** For `squeue -o '%F|%k'`, and the like of sacct, which adds the task: a line for each job, and for the tasks that wait one together. */
export class JobLineScanner {
  readonly #onJob: (job: ListedJob) => void
  #rest = ''
  #broken = false

  constructor(onJob: (job: ListedJob) => void) {
    this.#onJob = onJob
  }

  push(chunk: Uint8Array): void {
    // Ids and usher's comments are ASCII; what others wrote in theirs needn't be read right.
    const lines = (this.#rest + Buffer.from(chunk).toString('latin1')).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#line(line)
  }

  get complete(): boolean {
    return !this.#broken && this.#rest === ''
  }

  #line(line: string): void {
    const bar = line.indexOf('|')
    // A comment may hold a line feed: such a line is no job of ours.
    const jobId = /^\d+/.exec(line)?.[0]
    if (bar > 0 && jobId !== undefined) this.#onJob({ jobId, comment: line.slice(bar + 1).trim() })
  }
}
