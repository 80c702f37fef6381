import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { OciRuntimeConfig } from './oci-config.ts'

/**
 * Compiling a seccomp profile takes crun 20 ms of a start of 50. It leaves the compiled filter in its state folder and
 * takes one by annotation (crun(1), `run.oci.seccomp_bpf_data`), so that each profile is compiled once an agent's life.
 * The profile stays in the configuration: it is what is asked for, and what is compiled again when there is no filter.
 */
export interface CompiledFilters {
  /** The configuration with its filter, where that is known. */
  compiled(config: OciRuntimeConfig): OciRuntimeConfig
  /** Remembers what the runtime compiled for a container that it has just made. Never fails: it costs time alone. */
  keep(config: OciRuntimeConfig, stateFolder: string): Promise<void>
}

/** For runtimes that take no compiled filter. */
export const NO_FILTERS: CompiledFilters = { compiled: config => config, keep: async () => {} }

/** A host has few profiles: one for the default, and one for each that its users bring. */
const MOST_FILTERS = 64

export function crunFilters(): CompiledFilters {
  const known = new Map<string, string>()
  const keyOf = ({ linux }: OciRuntimeConfig) => JSON.stringify(linux.seccomp ?? null)
  return {
    compiled: config => {
      const filter = known.get(keyOf(config))
      if (filter === undefined) return config
      return { ...config, annotations: { ...config.annotations, 'run.oci.seccomp_bpf_data': filter } }
    },
    keep: async (config, stateFolder) => {
      const key = keyOf(config)
      if (known.has(key) || known.size >= MOST_FILTERS) return
      const filter = await readFile(join(stateFolder, 'seccomp.bpf'), 'base64').catch(() => '')
      if (filter !== '') known.set(key, filter)
    },
  }
}
