import { z } from 'zod'
import { hostAbilitiesSchema } from './host-abilities.ts'

/** How a host keeps the files of its containers: the driver in use, and whether each that there is could be. */
export const storageSchema = z.object({
  driver: z.string(),
  drivers: z.array(
    z.object({
      name: z.string(),
      usable: z.boolean(),
      reason: z.string().optional(),
      /** What to know ahead of a choice of one that is usable. */
      note: z.string().optional(),
    }),
  ),
})
export type StorageFacts = z.infer<typeof storageSchema>

const bytes = z.int().min(0)

/** A host that has not been heard of for this long reads `unknown`: it gets nothing new, and others take its builds. */
export const HOST_SILENT_MS = 30_000

/** Builds at once of a host that does not say how many. */
export const BUILDS_AT_ONCE = 2

const LABEL_LIMIT = 64
/** What people say about hosts: `zone=eu`. */
export const labelsSchema = z
  .record(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$/), z.string().max(255))
  .refine(labels => Object.keys(labels).length <= LABEL_LIMIT, `at most ${LABEL_LIMIT} labels`)
export type Labels = z.infer<typeof labelsSchema>

/** Things of one kind on a host's disk, as `docker system df` counts them. */
export const usageSchema = z.object({
  count: z.int().min(0),
  /** Those that something uses. */
  activeCount: z.int().min(0),
  bytes,
  /** What would be free without those that nothing uses. */
  reclaimableBytes: bytes,
})
export type Usage = z.infer<typeof usageSchema>

/** What takes room on a host, measured now and then in the background. */
export const diskUsageSchema = z.object({
  measuredAt: z.int().meta({ description: 'Milliseconds since 1970' }),
  images: usageSchema,
  containers: usageSchema.meta({ description: 'What their files take besides their images' }),
  volumes: usageSchema,
  buildCache: usageSchema.meta({ description: 'Without the layers that images have too' }),
  logs: usageSchema,
})
export type DiskUsage = z.infer<typeof diskUsageSchema>

/** Below this no host begins anything that fills its disk further: a twentieth of it, a gibibyte at most. */
export function leastFreeBytes(diskBytes: number): number {
  return Math.min(diskBytes / 20, 1024 ** 3)
}

/** What an agent says about its machine with each report. */
export const hostFactsSchema = z.object({
  hostname: z.string(),
  architecture: z.string(),
  os: z.string(),
  kernel: z.string(),
  cpus: z.int(),
  memoryBytes: z.int(),
  diskBytes: z.int(),
  diskFreeBytes: z.int(),
  agentVersion: z.string(),
  snapshotter: z.string(),
  storage: storageSchema.optional(),
  runtime: z.string(),
  cgroup: z.enum(['v1', 'v2']),
  labels: labelsSchema.optional().meta({ description: 'SLIPWAY_LABELS of its agent: what builds may ask for' }),
  buildsAtOnce: z.int().min(0).optional(),
  /** Left out by agents of before. */
  abilities: hostAbilitiesSchema.optional(),
})
export type HostFacts = z.infer<typeof hostFactsSchema>

/** Go's names for architectures, as OCI images use them, from Node's. */
export function ociArchitecture(nodeArch: string): string {
  const names: Record<string, string> = { x64: 'amd64', arm64: 'arm64', arm: 'arm', ia32: '386', riscv64: 'riscv64' }
  return names[nodeArch] ?? nodeArch
}
