import { decodeNumber, invalidTar, type RawHeader, type TarEntry, type TarErrors } from './tar-format.ts'

/** A stretch of data in a file with holes; the archive has them one behind the other. */
export interface Extent {
  offset: number
  length: number
}

export const MAX_EXTENTS = 100_000
export const DAMAGED_MAP = 'has a damaged map of its holes. Make the tar again, or without --sparse'

/** Old GNU header: four extents at 386, "more follow" at 482, the file's size at 483 (GNU tar manual, "Old GNU Format"). */
export function oldGnuSparse(header: RawHeader, errors: TarErrors): { size: number; extents: Extent[]; more: boolean } {
  const { block } = header
  return {
    size: decodeNumber(block, 483, 12, errors, header.path),
    extents: extentsOf(block, 386, 4, errors, header.path),
    more: block[482] !== 0,
  }
}

/** A block of 21 further extents of the old GNU format. */
export function oldGnuExtension(block: Buffer, errors: TarErrors, path?: string): { extents: Extent[]; more: boolean } {
  return { extents: extentsOf(block, 0, 21, errors, path), more: block[504] !== 0 }
}

function extentsOf(block: Buffer, start: number, count: number, errors: TarErrors, path?: string): Extent[] {
  const extents: Extent[] = []
  for (let index = 0; index < count; index++) {
    const at = start + index * 24
    if (block[at] === 0 && block[at + 12] === 0) break
    const number = (from: number) => decodeNumber(block, from, 12, errors, path)
    extents.push({ offset: number(at), length: number(at + 12) })
  }
  return extents
}

/** Formats 0.0 and 0.1 of GNU's pax: the map is in the records. Undefined: these records have none. */
export function paxSparse(records: readonly [string, string][], errors: TarErrors, path: string): Extent[] | undefined {
  const map = records.findLast(([key]) => key === 'GNU.sparse.map')?.[1]
  const numbers =
    map === undefined
      ? records
          .filter(([key]) => key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes')
          .map(([, value]) => value)
      : map.split(',').filter(text => text !== '')
  if (map === undefined && numbers.length === 0) return undefined
  return pairs(numbers, errors, path)
}

/**
 * Format 1.0: the map leads the file's data, as decimal lines (their count first) filled up to whole blocks. A number: so
 * many lines more are in further blocks than these.
 */
export function leadingSparse(data: Buffer, errors: TarErrors, path?: string): Extent[] | number {
  const lines = data.toString('latin1').split('\n')
  const whole = lines.slice(0, -1)
  if (whole.length === 0) throw invalidTar(errors, DAMAGED_MAP, path)
  const count = decimal(whole[0] ?? '', errors, path)
  if (count > MAX_EXTENTS)
    throw invalidTar(errors, `has more than ${MAX_EXTENTS} holes: make the tar without --sparse`, path)
  if (whole.length < 1 + 2 * count) return 1 + 2 * count - whole.length
  return pairs(whole.slice(1, 1 + 2 * count), errors, path)
}

function pairs(numbers: readonly string[], errors: TarErrors, path?: string): Extent[] {
  const extents: Extent[] = []
  for (let index = 0; index < numbers.length; index += 2) {
    const [offset, length] = [numbers[index] ?? '', numbers[index + 1] ?? '']
    extents.push({ offset: decimal(offset, errors, path), length: decimal(length, errors, path) })
  }
  return extents
}

export function decimal(text: string, errors: TarErrors, path?: string): number {
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(number))
    throw invalidTar(errors, `has ${JSON.stringify(text.slice(0, 20))} where a number belongs: it is damaged`, path)
  return number
}

/** In order, apart, inside the file, and exactly as long as the data that follows. */
export function checkExtents(
  extents: readonly Extent[],
  { size, path }: TarEntry,
  stored: number,
  errors: TarErrors,
): void {
  let end = 0
  let total = 0
  for (const { offset, length } of extents) {
    if (offset < end || length < 0) throw invalidTar(errors, DAMAGED_MAP, path)
    end = offset + length
    total += length
  }
  if (end > size || total !== stored || extents.length > MAX_EXTENTS) {
    throw invalidTar(errors, DAMAGED_MAP, path)
  }
}
