import {
  BLOCK,
  decodeHeader,
  decodePax,
  decodeTime,
  decodeXattrName,
  invalidTar,
  MAX_META,
  PAX_XATTR,
  type RawHeader,
  type TarEntry,
  type TarEntryType,
  type TarErrors,
} from './tar-format.ts'
import {
  checkExtents,
  DAMAGED_MAP,
  decimal,
  type Extent,
  leadingSparse,
  MAX_EXTENTS,
  oldGnuExtension,
  oldGnuSparse,
  paxSparse,
} from './tar-sparse.ts'

/** Where the archive has a file's bytes. */
export interface StoredData {
  /** Of the first byte in the archive, a multiple of 512. */
  position: number
  /** The stretches of the file that the archive has, one behind the other from `position` on. Undefined: all of it. */
  extents: readonly Extent[] | undefined
}

/** Takes what is in a tar, in its order. What it throws ends the reading. */
export interface TarConsumer {
  entry(entry: TarEntry, stored: StoredData): void
  /** Bytes of the last file at this offset, a view of what was written to the reader: gone after the call. */
  data(bytes: Buffer, offset: number): void
  /** The last entry is whole. */
  end(): void
}

/** What holds for all entries is looked at for each of them. */
const MAX_GLOBAL = 64 * 1024
/** The largest user, group or device number of Linux; the one above means "unchanged". */
const MAX_ID = 0xfffffffe

const TYPES: Record<string, TarEntryType> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file',
  S: 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'folder',
  '6': 'fifo',
}

/** Of pax records, besides attributes. */
const READ_KEYS = new Set([
  ...['path', 'linkpath', 'size', 'uid', 'gid', 'mtime'],
  ...['name', 'major', 'map', 'size', 'realsize', 'offset', 'numbytes'].map(key => `GNU.sparse.${key}`),
])

type Meta = 'pax' | 'global' | 'longPath' | 'longLink'
const METAS: Record<string, Meta> = { x: 'pax', X: 'pax', g: 'global', L: 'longPath', K: 'longLink' }

/**
 * Reads a tar that is pushed into it, synchronously and in constant memory; each entry goes to the consumer. Pax values
 * stay bytes (file capabilities are not text). Throws the code `errors.invalid` for what is no tar.
 */
export class TarReader {
  readonly #consumer: TarConsumer
  readonly #errors: TarErrors
  /** What the bytes being gathered mean; they go to `#onBlock` when there are `#want` of them. */
  #phase: 'header' | 'meta' | 'gnuExtents' | 'leadingExtents' | 'data' | 'padding' | 'ended' = 'header'
  #want = BLOCK
  #gathered: Buffer[] = []
  #have = 0
  #zeroBlocks = 0
  #meta: Meta = 'pax'
  #metaSize = 0
  #global: [string, string][] = []
  #pax: [string, string][] = []
  #longPath: string | undefined
  #longLink: string | undefined
  #header: RawHeader | undefined
  #entry: TarEntry | undefined
  /** Bytes of the entry in the archive, a leading map of holes included. */
  #stored = 0
  #extents: Extent[] | undefined
  #extentIndex = 0
  #offset = 0
  /** Bytes of the current entry that the archive still has. */
  #left = 0
  #padding = 0
  /** Bytes of the archive taken so far. */
  #position = 0

  constructor(consumer: TarConsumer, errors: TarErrors) {
    this.#consumer = consumer
    this.#errors = errors
  }

  /** Whether the zeros that close every tar were seen. */
  get hasEnded(): boolean {
    return this.#zeroBlocks > 0
  }

  write(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.#phase === 'ended') return
      at += this.#phase === 'data' ? this.#takeData(chunk.subarray(at)) : this.#gather(chunk.subarray(at))
    }
  }

  /** After the last byte. A tar without its closing blocks is taken (`hasEnded` tells), one cut off inside is not. */
  finish(): void {
    const isBetween = this.#phase === 'header' && this.#have === 0 && this.#metaSize === 0
    if (this.#phase !== 'ended' && !isBetween) throw this.#invalid('is cut off: make it again, or send it again')
  }

  #invalid(why: string) {
    return invalidTar(this.#errors, why, this.#header?.path)
  }

  #gather(bytes: Buffer): number {
    const count = Math.min(this.#want - this.#have, bytes.length)
    const part = bytes.subarray(0, count)
    this.#have += count
    this.#position += count
    if (this.#have < this.#want) {
      if (this.#phase !== 'padding') this.#gathered.push(Buffer.from(part))
      return count
    }
    // Mostly all of it is here, and nothing needs to be copied.
    const block = this.#gathered.length === 0 ? part : Buffer.concat([...this.#gathered, part])
    this.#gathered = []
    this.#have = 0
    this.#onBlock(block)
    return count
  }

  #expect(phase: 'header' | 'meta' | 'gnuExtents' | 'leadingExtents' | 'padding', want: number): void {
    this.#phase = phase
    this.#want = want
  }

  /** The block is gone after the call. */
  #onBlock(block: Buffer): void {
    if (this.#phase === 'header') this.#onHeader(block)
    else if (this.#phase === 'meta') this.#onMeta(block)
    else if (this.#phase === 'gnuExtents') this.#onGnuExtents(block)
    else if (this.#phase === 'leadingExtents') this.#onLeadingExtents(block)
    else this.#expect('header', BLOCK)
  }

  #onHeader(block: Buffer): void {
    const header = decodeHeader(block, this.#errors)
    if (!header) {
      if (++this.#zeroBlocks === 2) this.#phase = 'ended'
      return
    }
    this.#header = header
    if (this.#zeroBlocks > 0)
      throw this.#invalid('comes after a block of zeros, which ends a tar: make one tar of both')
    const meta = METAS[header.typeflag]
    if (meta) this.#startMeta(meta, header.size)
    else if (header.typeflag === 'V')
      this.#skip(header.size) // GNU's name of the whole tar.
    else this.#startEntry(header)
  }

  #startMeta(meta: Meta, size: number): void {
    this.#metaSize += size
    if (size < 0 || this.#metaSize > MAX_META) throw this.#invalid('has more than 1 MiB of names and attributes')
    this.#meta = meta
    if (size > 0) this.#expect('meta', roundUp(size))
  }

  #onMeta(block: Buffer): void {
    const bytes = block.subarray(0, this.#header?.size ?? 0)
    const text = () => bytes.toString('latin1').replace(/\0.*$/s, '')
    if (this.#meta === 'pax') this.#pax = this.#pax.concat(decodePax(bytes, this.#errors))
    if (this.#meta === 'global') this.#setGlobal(decodePax(bytes, this.#errors))
    if (this.#meta === 'longPath') this.#longPath = text()
    if (this.#meta === 'longLink') this.#longLink = text()
    this.#expect('header', BLOCK)
  }

  /** The newest value of each key: bounded whatever number of global headers there is. */
  #setGlobal(records: [string, string][]): void {
    const known = records.filter(([key]) => READ_KEYS.has(key) || key.startsWith(PAX_XATTR))
    this.#global = [...new Map([...this.#global, ...known])]
    const size = this.#global.reduce((sum, [key, value]) => sum + key.length + value.length, 0)
    if (size > MAX_GLOBAL) throw this.#invalid('has more than 64 KiB of global attributes')
    this.#metaSize = 0
  }

  #startEntry(header: RawHeader): void {
    const records = [...this.#global, ...this.#pax]
    const pax = new Map(records)
    const { entry, stored } = this.#describe(header, pax)
    this.#pax = []
    this.#longPath = undefined
    this.#longLink = undefined
    this.#metaSize = 0
    this.#header = { ...header, path: entry.path }
    // POSIX lets other types have a size but no data; a file's alone is followed.
    this.#left = entry.type === 'file' ? stored : 0
    this.#padding = roundUp(this.#left) - this.#left
    this.#offset = 0
    this.#extentIndex = 0
    this.#extents = undefined
    this.#entry = entry
    this.#stored = stored
    if (entry.type !== 'file') this.#announce()
    else if (header.typeflag === 'S') this.#startGnuSparse(header)
    else if (pax.get('GNU.sparse.major') === '1') this.#expect('leadingExtents', BLOCK)
    else this.#announce(paxSparse(records, this.#errors, entry.path))
  }

  #describe(header: RawHeader, pax: ReadonlyMap<string, string>): { entry: TarEntry; stored: number } {
    const { typeflag, isGnu: _gnu, block: _block, ...fields } = header
    const value = (key: string) => pax.get(key) || undefined // Empty means: as if it were not there.
    const path = value('GNU.sparse.name') ?? value('path') ?? this.#longPath ?? fields.path
    const number = (key: string, otherwise: number) => {
      const text = value(key)
      return text === undefined ? otherwise : decimal(text, this.#errors, path)
    }
    const type = TYPES[typeflag]
    if (!type)
      throw invalidTar(
        this.#errors,
        `is of a kind that Linux has no file for (${JSON.stringify(typeflag)}): make the tar without it`,
        path,
      )
    const stored = number('size', fields.size)
    const isRealSize = pax.get('GNU.sparse.major') === '1' || pax.has('GNU.sparse.map') || pax.has('GNU.sparse.size')
    const size = isRealSize ? number('GNU.sparse.realsize', number('GNU.sparse.size', stored)) : stored
    if (stored < 0 || size < 0) throw invalidTar(this.#errors, 'has a negative size: it is damaged', path)
    const mtime = value('mtime')
    const entry: TarEntry = {
      ...fields,
      path,
      // Tars older than the folder's own type mark one by its last slash.
      type: type === 'file' && path.endsWith('/') ? 'folder' : type,
      uid: number('uid', fields.uid),
      gid: number('gid', fields.gid),
      size: type === 'file' ? size : 0,
      mtime: mtime === undefined ? fields.mtime : decodeTime(mtime, this.#errors, path),
      linkTarget: value('linkpath') ?? this.#longLink ?? fields.linkTarget,
      xattrs: xattrsOf(pax),
    }
    const ids = [entry.uid, entry.gid, entry.major, entry.minor]
    if (ids.some(id => id < 0 || id > MAX_ID))
      throw invalidTar(this.#errors, 'has an owner or a device number that Linux cannot have', path)
    return { entry, stored }
  }

  #startGnuSparse(header: RawHeader): void {
    const { size, extents, more } = oldGnuSparse(header, this.#errors)
    if (this.#entry) this.#entry = { ...this.#entry, size }
    this.#extents = extents
    if (more) this.#expect('gnuExtents', BLOCK)
    else this.#announce(extents)
  }

  #onGnuExtents(block: Buffer): void {
    const { extents, more } = oldGnuExtension(block, this.#errors, this.#header?.path)
    const all = this.#extents ?? []
    all.push(...extents)
    if (all.length > MAX_EXTENTS)
      throw this.#invalid(`has more than ${MAX_EXTENTS} holes: make the tar without --sparse`)
    if (!more) this.#announce(all)
  }

  #onLeadingExtents(data: Buffer): void {
    const extents = leadingSparse(data, this.#errors, this.#header?.path)
    if (typeof extents === 'number') {
      const want = data.length + leastBlocks(extents)
      if (want > this.#stored || want > MAX_META) throw this.#invalid(DAMAGED_MAP)
      this.#gathered = [Buffer.from(data)]
      this.#have = data.length
      this.#expect('leadingExtents', want)
      return
    }
    this.#left = this.#stored - data.length
    this.#announce(extents)
  }

  #announce(extents?: Extent[]): void {
    if (!this.#entry) return
    if (extents) checkExtents(extents, this.#entry, this.#left, this.#errors)
    // GNU marks a hole at the end by an extent without data.
    this.#extents = extents?.filter(({ length }) => length > 0)
    this.#consumer.entry(this.#entry, { position: this.#position, extents: this.#extents })
    this.#phase = 'data'
    if (this.#left === 0) this.#endEntry()
  }

  #takeData(bytes: Buffer): number {
    const extent = this.#extents?.[this.#extentIndex]
    const count = Math.min(bytes.length, this.#left, extent ? extent.length - this.#offset : this.#left)
    this.#consumer.data(bytes.subarray(0, count), (extent?.offset ?? 0) + this.#offset)
    this.#offset += count
    this.#left -= count
    this.#position += count
    if (extent && this.#offset === extent.length) {
      this.#extentIndex++
      this.#offset = 0
    }
    if (this.#left === 0) this.#endEntry()
    return count
  }

  #endEntry(): void {
    this.#consumer.end()
    this.#entry = undefined
    this.#header = undefined
    this.#skip(0)
  }

  #skip(size: number): void {
    const padding = size === 0 ? this.#padding : roundUp(size)
    this.#padding = 0
    this.#expect(padding > 0 ? 'padding' : 'header', padding > 0 ? padding : BLOCK)
  }
}

function xattrsOf(pax: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const xattrs = new Map<string, string>()
  for (const [key, value] of pax) {
    if (key.startsWith(PAX_XATTR)) xattrs.set(decodeXattrName(key.slice(PAX_XATTR.length)), value)
  }
  return xattrs
}

/** What so many lines take at least, the first of which may have begun: to ask for one block at a time would parse all anew each time. */
function leastBlocks(lines: number): number {
  const least = lines * SHORTEST_LINE - LONGEST_LINE
  return Math.max(1, Math.floor(least / BLOCK)) * BLOCK
}

const SHORTEST_LINE = 2
const LONGEST_LINE = 17

function roundUp(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK
}
