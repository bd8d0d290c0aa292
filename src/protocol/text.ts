// Which text a job may hold, and in which order keys stand on the wire. Pure.

const notXml = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u

/** The code for a text that can't be sent, or undefined for one that can: half a surrogate pair has no UTF-8. */
export const textProblem = (text: string): 'text_not_utf8' | 'text_not_xml' | undefined => {
  const match = notXml.exec(text)
  if (match === null) return undefined
  const unit = match[0].charCodeAt(0)
  return unit >= 0xd800 && unit <= 0xdfff ? 'text_not_utf8' : 'text_not_xml'
}

/**
 * Compares as the UTF-8 bytes do. UTF-16 differs from that in one thing: surrogates, which stand for what lies
 * above U+FFFF, have smaller units than U+E000 to U+FFFF.
 */
export const compareUtf8 = (a: string, b: string): number => {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) {
      const xHigh = x >= 0xd800 && x <= 0xdfff
      const yHigh = y >= 0xd800 && y <= 0xdfff
      return xHigh === yHigh ? x - y : xHigh ? 1 : -1
    }
  }
  return a.length - b.length
}
