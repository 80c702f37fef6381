import { z } from 'zod'
import { digestSchema } from '../digest.ts'
import { ERROR_CODES } from '../errors.ts'
import { lifeSpecSchema } from './container-life.ts'
import { containerHealthSchema } from './health.ts'
import { type ContainerId, idSchema } from './ids.ts'
import { publishedPortSchema } from './port.ts'
import { resourcesSchema } from './resources.ts'
import { securitySchema } from './security.ts'
import { signalNameSchema } from './signal.ts'

export const faultSchema = z.object({
  code: z.enum(ERROR_CODES),
  message: z.string(),
  facts: z.record(z.string(), z.unknown()).optional(),
})

/** When a container that ended is started again without being asked (Docker's restart policies). */
export const restartPolicySchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('no') }),
  z.object({ kind: z.literal('on-failure'), maxRetries: z.int().min(0).optional() }),
  z.object({ kind: z.literal('always') }),
  z.object({ kind: z.literal('unless-stopped') }),
])
export type RestartPolicy = z.infer<typeof restartPolicySchema>

/** What a container is, resolved by the API when it is created or updated: the agent asks nobody to run it. */
export const containerSpecSchema = z.object({
  /** How often it was updated; left out: never. Each update begins with the files of its image and nothing else. */
  revision: z.int().min(0).optional(),
  image: z.string(),
  imageDigest: digestSchema,
  entrypoint: z.array(z.string()).optional(),
  command: z.array(z.string()).optional(),
  env: z.array(z.string()),
  workdir: z.string().optional(),
  user: z.string().optional(),
  hostname: z.string().optional(),
  labels: z.record(z.string(), z.string()),
  ports: z.array(publishedPortSchema),
  restart: restartPolicySchema,
  resources: resourcesSchema,
  isReadOnly: z.boolean(),
  /** With a terminal, whose output is stdout alone. */
  tty: z.boolean().optional(),
  /** Left open for whoever attaches; otherwise it is empty. */
  stdin: z.boolean().optional(),
  /** It ends with whoever attached first. */
  stdinOnce: z.boolean().optional(),
  /** Left out: the defaults. */
  security: securitySchema.optional(),
  /** How long it is kept after its end; later its host may give it up for room. Left out: until it is removed. */
  keepForMs: z.int().min(0).optional(),
  ...lifeSpecSchema.shape,
})
export type ContainerSpec = z.infer<typeof containerSpecSchema>

/** How a run is told to end: the signal (left out, the image's own), and after how long it is killed. */
export const stopOrderSchema = z.object({ signal: signalNameSchema.optional(), timeoutMs: z.int().min(0) })
export type StopOrder = z.infer<typeof stopOrderSchema>
/** Where nothing was said: Docker's default. */
export const DEFAULT_STOP = { timeoutMs: 10_000 } as const satisfies StopOrder

/**
 * What the container should be. `run` counts the starts that were asked for: a goal with a higher run than the one
 * observed means "start it again", the same run and an ended process leaves the decision to the restart policy.
 */
export const containerGoalSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('created') }),
  /** `endPrevious`: how an earlier run that was told to stop, and may still be at it, is to end before this one begins. */
  z.object({ kind: z.literal('running'), run: z.int().min(1), endPrevious: stopOrderSchema.optional() }),
  z.object({ kind: z.literal('paused'), run: z.int().min(1) }),
  z.object({ kind: z.literal('stopped'), run: z.int().min(0), ...stopOrderSchema.shape }),
  z.object({ kind: z.literal('removed'), isForced: z.boolean() }),
])
export type ContainerGoal = z.infer<typeof containerGoalSchema>

/** Addresses are allocated with the desired state, so that the network is a function of it. */
export const endpointSchema = z.object({
  address: z.ipv4(),
  prefixLength: z.int().min(8).max(30),
  gateway: z.ipv4(),
  mac: z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/),
})
export type Endpoint = z.infer<typeof endpointSchema>

/** A signal to deliver once to the container's first process: the agent remembers the last `seq` it delivered. */
export const signalOrderSchema = z.object({ seq: z.int().min(1), signal: signalNameSchema })
export type SignalOrder = z.infer<typeof signalOrderSchema>

export const desiredContainerSchema = z.object({
  id: idSchema<ContainerId>(),
  name: z.string(),
  /** The host's generation at which this container last changed. */
  generation: z.int().min(1),
  spec: containerSpecSchema,
  goal: containerGoalSchema,
  endpoint: endpointSchema,
  signal: signalOrderSchema.optional(),
})
export type DesiredContainer = z.infer<typeof desiredContainerSchema>

const timestampMs = z.int().min(0)
/** `isOutOfMemory`: the kernel killed processes of the run for its memory. */
const endFields = { exitCode: z.int(), finishedAt: timestampMs, isOutOfMemory: z.boolean().optional() }

export const runEndSchema = z.object({ run: z.int(), ...endFields })

/** What the agent saw. `absent` is said once nothing of a removed container is left on the host. */
export const observedStateSchema = z.discriminatedUnion('state', [
  z.object({ state: z.literal('created'), error: faultSchema.optional() }),
  /** `error`: why an update of it cannot begin yet, or its new limits cannot be had. `health`: where it is checked. */
  z.object({
    ...{ state: z.literal('running'), run: z.int(), pid: z.int(), startedAt: timestampMs },
    error: faultSchema.optional(),
    health: containerHealthSchema.optional(),
  }),
  z.object({
    ...{ state: z.literal('paused'), run: z.int(), pid: z.int(), startedAt: timestampMs },
    health: containerHealthSchema.optional(),
  }),
  z.object({ state: z.literal('restarting'), run: z.int(), ...endFields, retryAt: timestampMs }),
  z.object({
    ...{ state: z.literal('exited'), run: z.int(), ...endFields, startedAt: timestampMs.optional() },
    error: faultSchema.optional(),
  }),
  z.object({ state: z.literal('removing') }),
  z.object({ state: z.literal('dead'), error: faultSchema }),
  z.object({ state: z.literal('absent') }),
])
export type ObservedState = z.infer<typeof observedStateSchema>

export const observedContainerSchema = z.object({
  id: idSchema<ContainerId>(),
  /** The generation of the desired container that this state was reached for. */
  generation: z.int().min(0),
  observedAt: timestampMs,
  restarts: z.int().min(0),
  status: observedStateSchema,
  /** How the run before the present one ended: that may never have been seen, since only the newest state is told. */
  lastEnd: runEndSchema.optional(),
})
export type ObservedContainer = z.infer<typeof observedContainerSchema>

/**
 * From when on (Unix milliseconds) a container that has ended may be given up for room; undefined while it may not be: it has
 * no such time, has not ended, or is to run again. Pure.
 */
export function expiresAt(
  spec: ContainerSpec,
  goal: ContainerGoal,
  observed: ObservedState | null,
): number | undefined {
  if (spec.keepForMs === undefined || observed?.state !== 'exited') return undefined
  const isLastRun = 'run' in goal && observed.run >= goal.run
  return isLastRun ? observed.finishedAt + spec.keepForMs : undefined
}

/** What a container takes on its host's disk, in bytes. */
export const containerSizeSchema = z.object({
  id: idSchema<ContainerId>(),
  /** What it wrote. */
  writableBytes: z.int().min(0),
  /** The same with its image. */
  virtualBytes: z.int().min(0),
})
export type ContainerSize = z.infer<typeof containerSizeSchema>

/** What a container did to a file of its image: the path from its root, as UTF-8. */
export const fileChangeSchema = z.object({ path: z.string(), kind: z.enum(['added', 'changed', 'deleted']) })
export type FileChange = z.infer<typeof fileChangeSchema>
