import { z } from 'zod'
import { faultSchema } from '../domain/container.ts'
import { terminalSizeSchema } from '../domain/exec.ts'
import { createContainerSchema } from './containers.ts'
import { flagSchema, waitSecondsSchema } from './paging.ts'

const fields = createContainerSchema.shape
const flag = (description: string) => z.boolean().optional().meta({ description })

export const createExecSchema = z.strictObject({
  command: fields.command
    .unwrap()
    .min(1)
    .refine(([program]) => program !== '', 'names no program')
    .meta({ description: 'The program and its arguments; no shell is between.' }),
  tty: flag('A terminal of its own; its output is stdout alone.'),
  stdin: flag('Left open for whoever attaches. Left out: empty, or with `input` what it says.'),
  user: fields.user.meta({
    description: "USER or USER:GROUP, as the container's files have them. Left out: the container's.",
  }),
  workdir: fields.workdir.meta({ description: "An absolute path. Left out: the container's." }),
  env: fields.env.meta({ description: "Added to the container's." }),
  detach: flag('Nobody will attach: what it writes is dropped.'),
  size: terminalSizeSchema.optional().meta({ description: 'Of the terminal, to begin with.' }),
  input: z
    .string()
    .max(512 * 1024)
    .optional()
    .meta({ description: 'With `?wait=exited` alone: its whole stdin.' }),
})
export type CreateExec = z.infer<typeof createExecSchema>

export const createExecQuerySchema = z.strictObject({
  wait: z.enum(['exited']).optional().meta({ description: 'Answer with what it wrote, once it has ended.' }),
  timeout: waitSecondsSchema,
})
export const execQuerySchema = z.strictObject({ wait: z.enum(['exited']).optional(), timeout: waitSecondsSchema })

export const attachQuerySchema = z.strictObject({
  flow: flagSchema.optional().meta({ description: 'Flow control by messages (channel 5), for what is large.' }),
})

export const execViewSchema = z.object({
  id: z.string(),
  container: z.string().meta({ description: 'Its id' }),
  command: z.array(z.string()),
  tty: z.boolean(),
  stdin: z.boolean(),
  state: z.enum(['running', 'exited']),
  pid: z.int().optional().meta({ description: 'On the host' }),
  exitCode: z
    .int()
    .optional()
    .meta({ description: "As a shell has it: 126 and 127 for what could not be run, 128 and the signal's number" }),
  error: faultSchema.optional().meta({ description: 'Why it could not be run' }),
  startedAt: z.iso.datetime(),
  finishedAt: z.iso.datetime().optional(),
  stdout: z.string().optional().meta({ description: 'With `?wait=exited`: up to 1 MiB of it' }),
  stderr: z.string().optional(),
  isTruncated: z.boolean().optional().meta({ description: 'It wrote more than is here' }),
})
export type ExecView = z.infer<typeof execViewSchema>
