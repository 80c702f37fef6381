import { z } from 'zod'

/** seccomp(2)'s answers to a call. Those that need a tracer or a listener beside the container are not among them. */
export const SECCOMP_ACTIONS = [
  ...['SCMP_ACT_ALLOW', 'SCMP_ACT_ERRNO', 'SCMP_ACT_KILL', 'SCMP_ACT_KILL_PROCESS', 'SCMP_ACT_KILL_THREAD'],
  ...['SCMP_ACT_LOG', 'SCMP_ACT_TRAP'],
] as const
const OPERATORS = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'].map(name => `SCMP_CMP_${name}`)

const actionSchema = z.enum([...SECCOMP_ACTIONS] as [string, ...string[]], `an action: ${SECCOMP_ACTIONS.join(', ')}`)
const word = z.string().min(1).max(64)
const conditionSchema = z.object({
  caps: z.array(word).max(64).nullish(),
  arches: z.array(word).max(64).nullish(),
  minKernel: z.string().max(32).nullish(),
})
const ruleSchema = z.object({
  names: z.array(word).min(1).max(1000),
  action: actionSchema,
  errnoRet: z.int().min(0).max(4095).nullish(),
  args: z
    .array(
      z.object({
        index: z.int().min(0).max(5),
        value: z.number().min(0),
        valueTwo: z.number().min(0).default(0),
        op: z.enum(OPERATORS as [string, ...string[]], `an operator: ${OPERATORS.join(', ')}`),
      }),
    )
    .max(6)
    .nullish(),
  includes: conditionSchema.nullish(),
  excludes: conditionSchema.nullish(),
})

/** A seccomp profile in Docker's form (docs.docker.com, "Seccomp security profiles"); what it does not know is passed over. */
export const seccompProfileSchema = z.object({
  defaultAction: actionSchema,
  defaultErrnoRet: z.int().min(0).max(4095).nullish(),
  architectures: z.array(word).max(32).nullish(),
  archMap: z
    .array(z.object({ architecture: word, subArchitectures: z.array(word).max(32).nullish() }))
    .max(32)
    .nullish(),
  syscalls: z.array(ruleSchema).max(1000),
})
export type SeccompProfile = z.infer<typeof seccompProfileSchema>

/** Of a profile as JSON: several times what the default one takes. */
export const SECCOMP_PROFILE_LIMIT = 128 * 1024
