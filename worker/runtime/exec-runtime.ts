import type { TerminalSize } from '#shared/domain/exec.ts'
import type { OciRuntimeConfig } from './oci-config.ts'

/**
 * Processes that are run in a container beside its own, each below a monitor that keeps its exit code while the agent is
 * away. Everything is read from the session's folder and /proc: nothing is remembered. Adapters: crun and runc, both
 * below conmon. All pass `exec-runtime.contract.ts`.
 */
export interface ExecRuntime {
  /**
   * Runs a process; its monitor's files lie in `folder`, which is there. Unless detached it is returned attached, before
   * its first byte. Throws `container.command-not-found`, `container.command-not-executable`, `container.start-failed`.
   */
  start(order: ExecStart): Promise<Attachment | undefined>
  /** A few small reads, no process. */
  inspect(folder: string): Promise<ExecState>
  /**
   * Attaches to a process, be it a container's own, by the folder of its monitor: where an earlier agent's connection is
   * held, by that one, with what it did not read. Errors: `host.kernel-refused`.
   */
  attach(folder: string): Attachment
  /** Whether a connection of an earlier agent's, or of this one, is held: the process waits for who reads it. */
  isHeld(folder: string): boolean
  /** For a process with a terminal. One that has ended is no error. */
  resize(folder: string, size: TerminalSize): Promise<void>
  /** Kills what is left of a session and its monitor. */
  end(folder: string): Promise<void>
}

export interface ExecStart {
  containerId: string
  folder: string
  process: OciRuntimeConfig['process']
  hasStdin: boolean
  isDetached: boolean
}

export type ExecState =
  /** It runs, or how it ended is about to be written. */
  | { state: 'running'; pid: number }
  /** The code is unknown when its monitor was killed. */
  | { state: 'exited'; exitCode: number | undefined; finishedAt: number | undefined }
  | { state: 'absent' }

/** What comes and goes between a process and whoever is attached to it. */
export interface Attachment {
  /** Until it has closed them or the signal says so. What nobody takes makes the process wait. One reader at a time. */
  output(signal: AbortSignal): AsyncGenerator<Output, void>
  /** Done when it is on its way; false: nobody will read it. */
  write(bytes: Uint8Array): Promise<boolean>
  /** Its stdin ends, if its monitor was told that it may. */
  endInput(): void
  /** Nothing is held any more: what it writes from now on is dropped, and its stdin ends unless it stays open. */
  close(): void
  readonly isEnded: boolean
}

export interface Output {
  channel: 'stdout' | 'stderr'
  bytes: Uint8Array
  /** The same behind one byte more, which is the reader's to set: what is much is not copied for its sake. */
  message: Uint8Array
}
