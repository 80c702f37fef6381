import { BLOCK, encodeXattrName, PAX_XATTR, type TarEntry, type TarEntryType } from './tar-format.ts'

const TYPEFLAGS: Record<TarEntryType, string> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  character: '3',
  block: '4',
  folder: '5',
  fifo: '6',
}
const MAX_OCTAL = { 8: 0o7777777, 12: 0o77777777777 } as const

/** Two blocks of zeros. */
export const TAR_END = Buffer.alloc(2 * BLOCK)

/**
 * The header of an entry in ustar, led by a pax header for what ustar cannot hold: long or non-ASCII names, fractions
 * of a second, large numbers, extended attributes. The same entry gives the same bytes. File bytes and `paddingOf`
 * follow.
 */
export function encodeHeader(entry: TarEntry): Buffer {
  const records = paxRecords(entry)
  if (records.length === 0) return ustar(entry, TYPEFLAGS[entry.type])
  const pax = Buffer.concat(records.map(([key, value]) => encodeRecord(key, value)))
  // GNU tar and Go name these after the entry; readers do not look.
  const header = ustar({ ...entry, path: 'PaxHeaders/entry', linkTarget: '', size: pax.length, mode: 0o644 }, 'x')
  return Buffer.concat([header, pax, paddingOf(pax.length), ustar(entry, TYPEFLAGS[entry.type])])
}

/** The zeros that fill up the last block of a file. */
export function paddingOf(size: number): Buffer {
  return Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK)
}

function paxRecords({ path, linkTarget, size, uid, gid, mtime, xattrs }: TarEntry): [string, string][] {
  const records: [string, string][] = []
  if (!fitsName(path)) records.push(['path', path])
  if (!fitsName(linkTarget)) records.push(['linkpath', linkTarget])
  if (size > MAX_OCTAL[12]) records.push(['size', String(size)])
  if (uid > MAX_OCTAL[8]) records.push(['uid', String(uid)])
  if (gid > MAX_OCTAL[8]) records.push(['gid', String(gid)])
  const isPlainTime = mtime.nanoseconds === 0 && mtime.seconds >= 0 && mtime.seconds <= MAX_OCTAL[12]
  if (!isPlainTime) records.push(['mtime', encodeTime(mtime)])
  for (const name of [...xattrs.keys()].sort()) {
    records.push([`${PAX_XATTR}${encodeXattrName(name)}`, xattrs.get(name) ?? ''])
  }
  return records
}

function fitsName(name: string): boolean {
  return name.length <= 100 && !/[^ -~]/.test(name)
}

/** Pax has the sign in front of the whole number, where a Timestamp counts forward from a negative second. */
function encodeTime({ seconds, nanoseconds }: TarEntry['mtime']): string {
  const isNegative = seconds < 0
  const total = BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds)
  const absolute = isNegative ? -total : total
  const fraction = String(absolute % 1_000_000_000n)
    .padStart(9, '0')
    .replace(/0+$/, '')
  return `${isNegative ? '-' : ''}${absolute / 1_000_000_000n}${fraction === '' ? '' : `.${fraction}`}`
}

/** `<length> <key>=<value>\n`, where the length counts its own digits. */
function encodeRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`
  let length = rest.length + 1
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length
  return Buffer.from(`${length}${rest}`, 'latin1')
}

function ustar(entry: TarEntry, typeflag: string): Buffer {
  const block = Buffer.alloc(BLOCK)
  const octal = (value: number, at: number, width: 8 | 12) => {
    const fitting = value >= 0 && value <= MAX_OCTAL[width] ? value : 0 // The pax header has the true one.
    block.write(fitting.toString(8).padStart(width - 1, '0'), at, 'latin1')
  }
  block.write(entry.path.slice(0, 100), 0, 'latin1')
  octal(entry.mode, 100, 8)
  octal(entry.uid, 108, 8)
  octal(entry.gid, 116, 8)
  octal(entry.size, 124, 12)
  octal(entry.mtime.seconds, 136, 12)
  block.write(typeflag, 156, 'latin1')
  block.write(entry.linkTarget.slice(0, 100), 157, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  octal(entry.major, 329, 8)
  octal(entry.minor, 337, 8)
  block.fill(' ', 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}
