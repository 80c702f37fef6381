import type { ErrorCode } from '#shared/errors.ts'
import { SlipwayError } from '#shared/errors.ts'

/**
 * The tar format as the field writes it: ustar and pax (POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended
 * Header"), old GNU (GNU tar manual, "Basic Tar Format") and v7. Names and values are bytes, held as Latin-1 text: one
 * character a byte, so that nothing is lost whatever their encoding is.
 */
export const BLOCK = 512
/** Of a name in bytes, as Linux has it (limits.h: PATH_MAX with its end, NAME_MAX). */
export const MAX_PATH = 4095
export const MAX_NAME = 255
export const TOO_LONG = `of more than ${MAX_PATH} bytes, which Linux cannot open: shorten it`
/** What may precede an entry: pax records and long names. More is no honest tar; Go's reader (archive/tar), and Docker with it, has this bound, too. */
export const MAX_META = 1024 * 1024
/** How much of a name that is too long an error has. */
export const SHOWN_NAME = 100
/** Layers have it before a name that may itself be as long as names get. */
const WHITEOUT_MARK = /^\.wh\./

export type TarEntryType = 'file' | 'folder' | 'symlink' | 'hardlink' | 'character' | 'block' | 'fifo'

export interface Timestamp {
  seconds: number
  nanoseconds: number
}

export interface TarEntry {
  type: TarEntryType
  /** As the archive has it, Latin-1. */
  path: string
  mode: number
  uid: number
  gid: number
  /** Bytes of the file, holes included. */
  size: number
  mtime: Timestamp
  /** Of links: as the archive has it, Latin-1. */
  linkTarget: string
  major: number
  minor: number
  /** Extended attributes by name, Latin-1 both. */
  xattrs: ReadonlyMap<string, string>
}

export interface RawHeader extends Omit<TarEntry, 'type' | 'xattrs'> {
  typeflag: string
  isGnu: boolean
  block: Buffer
}

/** A name of the archive as a person may read it. */
export function shown(path: string): string {
  return JSON.stringify(Buffer.from(path, 'latin1').toString())
}

/** The codes with which a reader of tars says what is wrong with one. */
export interface TarErrors {
  invalid: ErrorCode
}

export function invalidTar(errors: TarErrors, why: string, path?: string): SlipwayError {
  const facts = path === undefined ? {} : { entry: Buffer.from(path, 'latin1').toString() }
  const message = `${path === undefined ? 'The tar' : `The tar's entry ${shown(path)}`} ${why}.`
  return new SlipwayError(errors.invalid, message, { facts })
}

/** One header block; undefined for a block of zeros. Throws `invalid` when its checksum is wrong. */
export function decodeHeader(block: Buffer, errors: TarErrors): RawHeader | undefined {
  if (!hasRightSum(block, errors)) return undefined
  const text = (start: number, length: number) => {
    if (block[start] === 0) return ''
    const bytes = block.toString('latin1', start, start + length)
    const end = bytes.indexOf('\0')
    return end < 0 ? bytes : bytes.slice(0, end)
  }
  const name = text(0, 100)
  const number = (start: number, length: number) => decodeNumber(block, start, length, errors, name)
  const magic = block.toString('latin1', 257, 265)
  const prefix = magic.startsWith('ustar\0') ? text(345, 155) : ''
  const seconds = number(136, 12)
  return {
    path: prefix === '' ? name : `${prefix}/${name}`,
    mode: number(100, 8) & 0o7777,
    uid: number(108, 8),
    gid: number(116, 8),
    size: number(124, 12),
    mtime: { seconds, nanoseconds: 0 },
    linkTarget: text(157, 100),
    major: magic.startsWith('ustar') ? number(329, 8) : 0,
    minor: magic.startsWith('ustar') ? number(337, 8) : 0,
    typeflag: String.fromCharCode(block[156] ?? 0),
    isGnu: magic === 'ustar  \0',
    block,
  }
}

/** False: all zeros. Old tars summed signed bytes. */
function hasRightSum(block: Buffer, errors: TarErrors): boolean {
  let sum = 0
  let negatives = 0
  for (let index = 0; index < BLOCK; index++) {
    const byte = block[index] ?? 0
    sum += byte
    negatives += byte >> 7
  }
  if (sum === 0) return false
  // The sum's own field counts as spaces.
  for (let index = 148; index < 156; index++) {
    const byte = block[index] ?? 0
    sum += 32 - byte
    negatives -= byte >> 7
  }
  const stored = sumOf(block)
  if (stored !== sum && stored !== sum - 256 * negatives) {
    throw invalidTar(
      errors,
      'has a block that is not a header: it is damaged, or is not a tar. Make it again, or send it again',
    )
  }
  return true
}

/** What the header says its sum is; undefined where no number stands there: then it is no header, whatever else it holds. */
function sumOf(block: Buffer): number | undefined {
  const digits = /^[ \0]*([0-7]+)(?:[ \0]|$)/.exec(block.toString('latin1', 148, 156))?.[1]
  return digits === undefined ? undefined : Number.parseInt(digits, 8)
}

/** Octal digits, or base 256 when the first bit is set (GNU); in the range that JavaScript counts exactly. */
export function decodeNumber(block: Buffer, start: number, length: number, errors: TarErrors, path?: string): number {
  const first = block[start] ?? 0
  if (first < 0x80) return decodeOctal(block, start, start + length, errors, path)
  const bytes = Buffer.from(block.subarray(start, start + length))
  bytes[0] = first === 0xff ? 0xff : first & 0x7f
  const bits = BigInt(bytes.length * 8)
  const value = BigInt(`0x${bytes.toString('hex')}`)
  const number = Number(first === 0xff ? BigInt.asIntN(Number(bits), value) : value)
  if (!Number.isSafeInteger(number))
    throw invalidTar(errors, 'has a number that is too large in its header: it is damaged', path)
  return number
}

/** Digits between blanks and zero bytes; what comes after those does not count, and no digits are 0. */
function decodeOctal(block: Buffer, start: number, end: number, errors: TarErrors, path?: string): number {
  const isBlank = (byte: number | undefined) => byte === 0x20 || byte === 0
  let at = start
  while (at < end && isBlank(block[at])) at++
  let number = 0
  for (; at < end && !isBlank(block[at]); at++) {
    const digit = (block[at] ?? 0) - 0x30
    if (digit < 0 || digit > 7)
      throw invalidTar(errors, 'has something else than digits where its header has a number: it is damaged', path)
    number = number * 8 + digit
  }
  return number
}

/** The records `<length> <key>=<value>\n` of a pax header, in order. */
export function decodePax(bytes: Buffer, errors: TarErrors): [string, string][] {
  const records: [string, string][] = []
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at)
    const digits = space < 0 || space - at > 10 ? '' : bytes.toString('latin1', at, space)
    const end = at + (/^[1-9]\d*$/.test(digits) ? Number(digits) : Number.NaN)
    const equals = bytes.indexOf(0x3d, space)
    // NaN compares as false: every condition is written so that it must hold.
    const isGood = end <= bytes.length && equals > space + 1 && equals < end && bytes[end - 1] === 0x0a
    if (!isGood) throw invalidTar(errors, 'has a damaged pax header. Make it again, or send it again')
    records.push([bytes.toString('latin1', space + 1, equals), bytes.toString('latin1', equals + 1, end - 1)])
    at = end
  }
  return records
}

/** A pax time, `seconds[.fraction]`, perhaps negative. */
export function decodeTime(text: string, errors: TarErrors, path: string): Timestamp {
  const match = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(text)
  if (!match) throw invalidTar(errors, 'has a time that is not a number of seconds: it is damaged', path)
  const [, sign, whole = '', fraction = ''] = match
  const nanoseconds = Number(fraction.slice(0, 9).padEnd(9, '0'))
  if (sign !== '-') return { seconds: Number(whole), nanoseconds }
  return nanoseconds === 0
    ? { seconds: 0 - Number(whole), nanoseconds }
    : { seconds: -1 - Number(whole), nanoseconds: 1e9 - nanoseconds }
}

/**
 * The names of a path without empty ones and `.`; throws `invalid` for what Linux could not name. `linkOf`: the entry
 * that has the path as its link's target, which is what errors name then.
 */
export function namesOf(path: string, errors: TarErrors, linkOf?: string): string[] {
  const fail = (why: string) => {
    const entry = (linkOf ?? path).slice(0, SHOWN_NAME)
    return invalidTar(errors, `${linkOf === undefined ? 'has' : 'links to'} a name ${why}`, entry)
  }
  if (path.includes('\0')) throw fail('with a zero byte in it, which Linux cannot have')
  const names = path.split('/').filter(name => name !== '' && name !== '.')
  // A folder's last slash and a leading `./` do not count.
  if (path.length > MAX_PATH && names.join('/').length > MAX_PATH) throw fail(TOO_LONG)
  if (names.some(name => name.length > MAX_NAME && name.replace(WHITEOUT_MARK, '').length > MAX_NAME)) {
    throw fail(`with a part of more than ${MAX_NAME} bytes, which Linux cannot have: shorten it`)
  }
  return names
}

/** Throws `invalid` for what no symbolic link can hold. */
export function checkLinkTarget({ path, linkTarget }: TarEntry, errors: TarErrors): void {
  if (linkTarget === '')
    throw invalidTar(errors, 'is a link that says nothing of what it leads to: it is damaged', path)
  if (linkTarget.includes('\0'))
    throw invalidTar(errors, 'links to a name with a zero byte in it, which Linux cannot have', path)
  if (linkTarget.length <= MAX_PATH) return
  throw invalidTar(errors, `links to a name of more than ${MAX_PATH} bytes, which Linux cannot have: shorten it`, path)
}

/** What precedes the name of an extended attribute in a pax record's key (star's, which GNU tar and libarchive write too). */
export const PAX_XATTR = 'SCHILY.xattr.'

/**
 * The name of an attribute as the key of a record has it, which ends at its first `=`. GNU tar (1.34) and libarchive (3.6)
 * write `%3D` for that and `%25` for `%`; Go, and Docker with it, takes names as they are. So `%` is written as it is
 * unless what follows would make another name of it.
 */
export function encodeXattrName(name: string): string {
  return name.replace(/%(?=25|3D)/g, '%25').replaceAll('=', '%3D')
}

/** As GNU tar reads it: these two and no others. */
export function decodeXattrName(key: string): string {
  return key.replace(/%25|%3D/g, written => (written === '%25' ? '%' : '='))
}
