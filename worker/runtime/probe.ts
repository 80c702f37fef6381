import { randomBytes } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { endMarked } from '#worker/host/marked-processes.ts'
import { type BoundedResult, runBounded } from '#worker/host/run-bounded.ts'
import { configText } from './config-text.ts'
import type { OciRuntimeConfig } from './oci-config.ts'

export interface ProbeOptions {
  timeoutMs: number
  outputBytes: number
  signal: AbortSignal
  /** An agent that died may have left a check under way: it is ended first. */
  endsLeftovers: boolean
}

export interface ProbeRuntime {
  program: string
  /** Of the runtime's state. */
  root: string
  /** For what the runtime reads. */
  folder: string
  cgroupOf(id: string): string
}

const MARK = 'SLIPWAY_HEALTH_CHECK'
const PROGRAMS = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/**
 * Runs one more process in a container, as confined as its first, and waits for it. At the end of its time it is killed with all
 * that it began, which a variable of its environment tells apart from everything else in there: runtimes give it no cgroup of
 * its own on each kind of host. One at a time for a container.
 */
export async function runProbe(
  runtime: ProbeRuntime,
  id: string,
  program: OciRuntimeConfig['process'],
  options: ProbeOptions,
): Promise<BoundedResult> {
  const { root, folder, cgroupOf } = runtime
  const ofContainer = `${MARK}=${id}`
  if (options.endsLeftovers) await endMarked(cgroupOf(id), ofContainer)
  const mark = `${ofContainer}-${randomBytes(8).toString('hex')}`
  const path = join(folder, `${id}.json`)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const marked = { ...program, terminal: false, env: [...program.env, mark] }
  await writeFile(path, configText(marked), { mode: 0o600 })
  try {
    return await runBounded(runtime.program, ['--root', root, 'exec', '--process', path, id], {
      ...options,
      env: { PATH: PROGRAMS },
      end: pid => endMarked(cgroupOf(id), mark, pid),
    })
  } finally {
    await rm(path, { force: true })
  }
}
