import { z } from 'zod'

/** How a host keeps the files of its containers: the driver in use, and whether each that there is could be. */
export const storageSchema = z.object({
  driver: z.string(),
  drivers: z.array(z.object({ name: z.string(), usable: z.boolean(), reason: z.string().optional() })),
})
export type StorageFacts = z.infer<typeof storageSchema>

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
})
export type HostFacts = z.infer<typeof hostFactsSchema>

/** Go's names for architectures, as OCI images use them, from Node's. */
export function ociArchitecture(nodeArch: string): string {
  const names: Record<string, string> = { x64: 'amd64', arm64: 'arm64', arm: 'arm', ia32: '386', riscv64: 'riscv64' }
  return names[nodeArch] ?? nodeArch
}
