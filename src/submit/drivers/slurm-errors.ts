// What Slurm's errors mean for a submission. Numbers and texts are those of slurm_errno.h (read from libslurm 22.05);
// slurmrestd names the number, the commands print the text.
import type { Outcome } from '../driver.ts'

type Meaning = 'refused' | 'later' | 'doubt'

interface SlurmError {
  readonly code: number
  readonly text: string
  readonly meaning: Meaning
}

const all = (meaning: Meaning, list: readonly (readonly [number, string])[]): SlurmError[] =>
  list.map(([code, text]) => ({ code, text, meaning }))

const errors: readonly SlurmError[] = [
  // slurmctld looked at the job and will never take it as it is.
  ...all('refused', [
    [2000, 'Invalid partition name specified'],
    [2001, 'No partition specified or system default partition'],
    [2003, "User's group not permitted to use this partition"],
    [2004, 'Requested nodes not in this partition'],
    [2005, 'More processors requested than permitted'],
    [2006, 'Node count specification invalid'],
    [2008, 'Job size specification needs to be provided'],
    [2009, 'Job script not specified'],
    [2010, 'Invalid user id'],
    [2012, 'Pathname of a file, directory or other parameter too long'],
    [2014, 'Requested node configuration is not available'],
    [2018, 'Invalid node name specified'],
    [2023, 'Task distribution specification invalid'],
    [2025, 'Task count specification invalid'],
    [2029, 'Invalid feature specification'],
    [2036, 'Requested operation not supported on this system'],
    [2038, 'Job dependency problem'],
    [2039, 'Only batch jobs are accepted or processed'],
    [2040, 'Current SwitchType does not permit arbitrary task distribution'],
    [2041, 'Requested more tasks than available processors'],
    [2044, 'Memory required by task is not available'],
    [2045, 'Invalid account or account/partition combination specified'],
    [2048, 'Invalid license specification'],
    [2051, 'Requested time limit is invalid (missing or exceeds some limit)'],
    [2052, 'Access denied to requested reservation'],
    [2053, 'Requested reservation is invalid'],
    [2054, 'Invalid time specified'],
    [2057, 'Invalid wckey specification'],
    [2066, 'Invalid qos specification'],
    [2069, 'CPU count specification invalid'],
    [2071, 'Circular job dependency'],
    [2072, 'Invalid generic resource (gres) specification'],
    [2081, 'Invalid job array specification'],
    [2092, 'Burst Buffer permission denied'],
    [2094, 'Burst Buffer request invalid'],
    [2099, 'Invalid mcs_label specified'],
    [2102, 'Duplicate generic resource (gres) specification'],
    [2113, 'Invalid group id'],
    [2115, 'Invalid Trackable RESource (TRES) specification'],
    [2119, 'Invalid GRES specification (with and without type identification)'],
    [2122, 'Requested GRES option unsupported by configured SelectType plugin'],
    [2123, 'Invalid --nice value'],
    [2124, "Invalid time-min specification (exceeds job's time or other limits)"],
    [2127, 'Environment is missing in job'],
    [2130, 'Multiple partition job request not supported when a partition is set in the association'],
    [2132, 'Cannot request more threads per core than the job allocation'],
    [2133, 'Invalid preferred feature specification'],
    [2134, 'Insufficient GRES available in allocation'],
    // slurmrestd could not make a job of the description; slurmctld was never asked.
    [9001, 'Failure during parsing'],
    [9002, 'Jobs description entry not found, empty or not dictionary or list'],
    [9202, 'Unable to convert Data type'],
    [9205, 'DATA too large to handle'],
  ]),
  // Certainly not taken; passes by itself, or by what an administrator does about this host.
  ...all('later', [
    [11, 'Resource temporarily unavailable'],
    [1001, 'Communication connection failure'],
    [1005, 'Incompatible versions of client and server code'],
    [1007, 'Protocol authentication error'],
    [1012, "Can't find an address, check slurm.conf"],
    [1800, 'Unable to contact slurm controller (connect failure)'],
    [2002, 'Access/permission denied'],
    [2007, 'Unable to create job record, try again'],
    [2013, 'Immediate execution impossible, insufficient priority'],
    [2015, 'Requested partition configuration not available now'],
    [2016, 'Requested nodes are busy'],
    [2019, 'I/O error writing script/environment to file'],
    [2027, 'Slurm backup controller in standby mode'],
    [2037, 'Requested operation is presently disabled'],
    [2050, "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"],
    [2056, 'Requested reservation not usable now'],
    [2068, 'Required node not available (down, drained or reserved)'],
    [2070, 'Required partition not available (inactive or drain)'],
    [2074, 'Requested account has breached requested QOS usage threshold'],
    [2090, 'Slurm internal error, contact system administrator'],
    [2093, 'Burst Buffer resource limit exceeded'],
    [2101, 'Partition in DOWN state'],
    [2105, 'System submissions disabled'],
    [2131, 'Controller is in standby mode, try a different controller'],
    [7000, 'Unable to connect to database'],
  ]),
  // The request was on its way: nobody knows how far it got.
  ...all('doubt', [
    [1000, 'Unexpected message received'],
    [1002, 'Message send failure'],
    [1003, 'Message receive failure'],
    [1004, 'Communication shutdown failure'],
    [1008, 'Insane message length'],
    [1801, 'Unable to contact slurm controller (send failure)'],
    [1802, 'Unable to contact slurm controller (receive failure)'],
    [1803, 'Unable to contact slurm controller (shutdown failure)'],
    [2011, 'Duplicate job id'],
    [5000, 'Received zero length message'],
    [5001, 'Received message length < 0'],
    [5002, 'Failed to send entire message'],
    [5003, 'Header lengths are longer than data received'],
    [5004, 'Socket timed out on send/recv operation'],
    [5005, 'Zero Bytes were transmitted or received'],
  ]),
]

const byCode = new Map(errors.map((error) => [error.code, error]))

/** slurmctld has no such job. */
export const invalidJobId = 2017

/** The outcome for an error number. Unknown numbers are those of a newer Slurm: 2000 to 2999 are slurmctld's own verdicts. */
export const outcomeOfCode = (code: number, text: string): Outcome => {
  const meaning =
    byCode.get(code)?.meaning ?? (code >= 2000 && code < 3000 ? 'later' : code >= 9000 && code < 10_000 ? 'refused' : 'doubt')
  return { kind: meaning, reason: `Slurm error ${code}: ${text}` }
}

/** The outcome for what a command printed on stderr; undefined where it holds no text that is known. */
export const outcomeOfText = (stderr: string): Outcome | undefined => {
  // Doubt first: a time-out beside another message is still a time-out.
  for (const meaning of ['doubt', 'refused', 'later'] as const) {
    const error = errors.find((candidate) => candidate.meaning === meaning && stderr.includes(candidate.text))
    if (error !== undefined) return { kind: meaning, reason: `Slurm error ${error.code}: ${error.text}` }
  }
  return undefined
}
