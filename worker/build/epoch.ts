import { SlipwayError } from '#shared/errors.ts'
import { PORTABLE_LEVELS } from '../layer/compress.ts'
import type { LayerPacking } from './build-work.ts'

/** The year 9999, the last that ISO 8601 has four digits for. */
const LAST = 253_402_300_799

/** SOURCE_DATE_EPOCH among a build's ARGs, in seconds (reproducible-builds.org); undefined where it is not given. */
export function epochOf(args: Readonly<Record<string, string>>): number | undefined {
  const text = Object.hasOwn(args, 'SOURCE_DATE_EPOCH') ? args.SOURCE_DATE_EPOCH : undefined
  if (text === undefined || text === '') return undefined
  if (/^\d{1,12}$/.test(text) && Number(text) <= LAST) return Number(text)
  const message = `SOURCE_DATE_EPOCH takes seconds since 1970, not ${JSON.stringify(text)}.`
  throw new SlipwayError('build.dockerfile-invalid', message)
}

/** A build with a time gives the same digests on any host: it is compressed by what all hosts have alike. */
export function packingOf(asked: LayerPacking, epoch: number | undefined): LayerPacking {
  const { compression, compressionLevel = PORTABLE_LEVELS[compression], forceCompression } = asked
  return epoch === undefined ? asked : { compression, compressionLevel, forceCompression }
}
