// What the commit marks of a segment (docs/store.md) say about a document that is damaged. Whether a mark is true is
// the addon's to check; here only what is claimed is read, so that jobs which can't be read are still counted.

const markStart = '<?usher-commit '
const mark = /^<\?usher-commit jobs="([0-9]{1,15})" bytes="[0-9]+" crc32c="[0-9a-f]{8}"\?>/
const markBytesMax = 100

/** How many jobs the last whole mark says were committed, be it true or not; null: there is none, as in other tools' documents. */
export const claimedJobs = (bytes: Buffer): number | null => {
  for (let at = bytes.lastIndexOf(markStart); at >= 0; at = at === 0 ? -1 : bytes.lastIndexOf(markStart, at - 1)) {
    const match = mark.exec(bytes.toString('latin1', at, at + markBytesMax))
    if (match?.[1] !== undefined) return Number(match[1])
  }
  return null
}
