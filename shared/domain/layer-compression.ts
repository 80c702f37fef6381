import { z } from 'zod'

export const COMPRESSIONS = ['gzip', 'zstd'] as const
export type Compression = (typeof COMPRESSIONS)[number]

/** Above 19 zstd takes a gigabyte of a host's memory for little. */
const HIGHEST = { gzip: 9, zstd: 19 } as const satisfies Record<Compression, number>

/** How the layers of a build are compressed, in the words of BuildKit's exporters. */
export const compressionFields = {
  compression: z.enum(COMPRESSIONS).default('gzip').meta({ description: 'Of the layers that are made' }),
  compressionLevel: z.int().min(0).max(HIGHEST.zstd).optional().meta({
    description: "zlib's (0 to 9) or zstd's (0 to 19, where 0 is its default)",
  }),
}
export const forceField = {
  forceCompression: z.boolean().default(false).meta({
    description: 'Whether layers of cached steps that are compressed in another way are compressed again',
  }),
}

export interface LayerCompression {
  compression: Compression
  compressionLevel?: number | undefined
}

export function isLevelOf({ compression, compressionLevel = 0 }: LayerCompression): boolean {
  return compressionLevel <= HIGHEST[compression]
}
export const LEVEL_FAULT = 'compressionLevel: gzip has 0 to 9, zstd has 0 to 19'
