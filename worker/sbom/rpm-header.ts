import type { Package } from './package.ts'

/** Tags of a header (rpm's rpmtag.h) and the types of their values that are read here. */
const TAGS = { name: 1000, version: 1001, release: 1002, epoch: 1003, vendor: 1011, license: 1014, url: 1020 } as const
const ARCH = 1022
const SOURCE_RPM = 1044
const INT32 = 4
const STRINGS = new Set([6, 9])

const ENTRY_BYTES = 16
const MAX_ENTRIES = 100_000

/**
 * A package of a header as rpm's database keeps it: two counts, an index of 16 bytes an entry, and the values (rpm's manual, "Header
 * format"; all numbers big endian). Undefined for what is no header, or one of a key that rpm keeps as a package. Pure.
 */
export function rpmPackage(header: Buffer): Package | undefined {
  if (header.length < 8) return undefined
  const count = header.readUInt32BE(0)
  const data = 8 + count * ENTRY_BYTES
  if (count > MAX_ENTRIES || data > header.length) return undefined
  const places = new Map<number, number>()
  for (let at = 8; at < data; at += ENTRY_BYTES) places.set(header.readUInt32BE(at), at)
  const textOf = (tag: number) => textAt(header, places.get(tag), data)
  const [name, version, release] = [textOf(TAGS.name), textOf(TAGS.version), textOf(TAGS.release)]
  if (!name || !version || name === 'gpg-pubkey') return undefined
  const source = textOf(SOURCE_RPM)
  return {
    ...{ type: 'rpm', name, version: release ? `${version}-${release}` : version, architecture: textOf(ARCH) },
    ...{ license: textOf(TAGS.license), supplier: textOf(TAGS.vendor), homepage: textOf(TAGS.url) },
    epoch: numberAt(header, places.get(TAGS.epoch), data),
    source: source === '(none)' ? undefined : source,
  }
}

function textAt(header: Buffer, entry: number | undefined, data: number): string | undefined {
  if (entry === undefined || !STRINGS.has(header.readUInt32BE(entry + 4))) return undefined
  const start = data + header.readUInt32BE(entry + 8)
  const end = header.indexOf(0, start)
  return start >= header.length || end === -1 ? undefined : header.toString('utf8', start, end)
}

function numberAt(header: Buffer, entry: number | undefined, data: number): number | undefined {
  if (entry === undefined || header.readUInt32BE(entry + 4) !== INT32) return undefined
  const start = data + header.readUInt32BE(entry + 8)
  return start + 4 > header.length ? undefined : header.readUInt32BE(start)
}
