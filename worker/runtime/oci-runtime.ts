import type { BoundedResult } from '#worker/host/run-bounded.ts'
import type { OciRuntimeConfig } from './oci-config.ts'
import type { ProbeOptions } from './probe.ts'

/**
 * An OCI runtime (runtime-spec 1.0) with a monitor process per container that keeps stdio, log and exit code while
 * the agent is away. Containers are found again from the disk and from /proc: no state in memory.
 * Adapters: crun (default) and runc, both below conmon. All pass `oci-runtime.contract.ts`.
 */
export interface OciRuntime {
  readonly name: string
  /** Makes the container of a bundle: its namespaces and first process exist, the command does not run yet. Deadline 30 s. */
  create(id: string, bundle: Bundle): Promise<void>
  start(id: string): Promise<void>
  /** One that has ended already is no error. */
  kill(id: string, signal: string): Promise<void>
  pause(id: string): Promise<void>
  resume(id: string): Promise<void>
  /**
   * Kills what is left of it, waits for its monitor's end, and removes the runtime's state and cgroup; monitor folder
   * and log stay. Nothing of it is written afterwards. Idempotent.
   */
  delete(id: string): Promise<void>
  /** Runs one more process in a running container to its end, as a health check; one at a time for a container. */
  probe(id: string, process: OciRuntimeConfig['process'], options: ProbeOptions): Promise<BoundedResult>
  /** What the kernel and the monitor's files say about one container. Costs a few small reads, no process. */
  inspect(id: string): Promise<RuntimeState>
  /** Every id that has runtime state, a monitor or a cgroup of ours. Costs a folder listing each. */
  list(): Promise<string[]>
  /** Called with a container's id whenever one may have ended; a doorbell. */
  watchExits(onExit: (id: string) => void): Disposable
}

export interface Bundle {
  /** The adapter writes it as `config.json` into `path`. */
  config: OciRuntimeConfig
  path: string
  /** Where stdout and stderr are kept (CRI log format); appended to. */
  logPath: string
  /** Folder of this container for the monitor's own files (pid, exit code); survives the agent. */
  statePath: string
  /** Left open for whoever attaches (`ExecRuntime.attach`): `once`, until the first of them ends it or leaves. Left out: empty. */
  stdin?: 'open' | 'once' | undefined
}

export type RuntimeState =
  | { state: 'absent' }
  | { state: 'created'; pid: number }
  | { state: 'running'; pid: number; startedAt: number }
  | { state: 'paused'; pid: number; startedAt: number }
  /** `exitCode` as a shell has it: 128 + signal for a killed process. It and the time are unknown when the monitor died too. */
  | {
      state: 'exited'
      exitCode: number | undefined
      startedAt: number | undefined
      finishedAt: number | undefined
      /** The kernel killed processes of it for its memory: told for as long as its cgroup is there. */
      isOutOfMemory: boolean
    }
