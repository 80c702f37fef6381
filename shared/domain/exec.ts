import { z } from 'zod'
import { faultSchema } from './container.ts'
import { type ContainerId, type ExecId, idSchema } from './ids.ts'

/** Of a terminal, in characters. */
export const terminalSizeSchema = z.object({
  columns: z.int().min(1).max(65_535),
  rows: z.int().min(1).max(65_535),
})
export type TerminalSize = z.infer<typeof terminalSizeSchema>

/** A process to run beside a container's own, in its namespaces, cgroup and with its confinement (`docker exec`). */
export const execSpecSchema = z.object({
  command: z.array(z.string()).min(1),
  /** With a terminal of its own, whose output is stdout alone. */
  tty: z.boolean(),
  /** Left open for whoever attaches; otherwise it is empty. */
  stdin: z.boolean(),
  /** USER or USER:GROUP as the container's files have them; left out: the container's. */
  user: z.string().optional(),
  workdir: z.string().optional(),
  /** KEY=VALUE, added to the container's. */
  env: z.array(z.string()),
  /** Nobody will attach: what it writes is dropped. */
  isDetached: z.boolean(),
  size: terminalSizeSchema.optional(),
})
export type ExecSpec = z.infer<typeof execSpecSchema>

/** What a host knows of a process that was run so. Its exit code is as a shell has it, and unknown when its monitor died. */
export const execSessionSchema = z.object({
  id: idSchema<ExecId>(),
  containerId: idSchema<ContainerId>(),
  command: z.array(z.string()),
  tty: z.boolean(),
  stdin: z.boolean(),
  state: z.enum(['running', 'exited']),
  pid: z.int().optional(),
  exitCode: z.int().optional(),
  /** Why it never ran: its exit code is 126 or 127 then. */
  error: faultSchema.optional(),
  /** Unix milliseconds. */
  startedAt: z.int(),
  finishedAt: z.int().optional(),
})
export type ExecSession = z.infer<typeof execSessionSchema>
