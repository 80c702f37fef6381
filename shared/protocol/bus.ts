import { z } from 'zod'
import { execSpecSchema, terminalSizeSchema } from '../domain/exec.ts'
import type { ContainerId, ExecId, HostId } from '../domain/ids.ts'
import { idSchema } from '../domain/ids.ts'
import type { WorkQueue } from '../ports/message-bus.ts'

/**
 * What travels over NATS. Nothing here is truth: a doorbell says "read again", a stream answers a request that was
 * made over the bus, and both may be lost. NATS permissions: an agent subscribes to `slipway.host.>`, `slipway.stream.*.ack` and
 * `slipway.stream.*.in`, and publishes to `slipway.stream.*` and `slipway.stream.*.in.ack` only; to take messages of the builds'
 * queue it subscribes to `_INBOX_agents.>`, and publishes to the requests of JetStream that `infra/local/nats.ts` lists. The API
 * makes the queue.
 */
export const SUBJECTS = {
  /** API → agent: read the desired state again; empty body. */
  hostDoorbell: (id: HostId) => `slipway.host.${id}.generation`,
  /** API → agent: `StreamRequest`. */
  hostStreams: (id: HostId) => `slipway.host.${id}.streams`,
  /** Ingest → waiting requests: something of this kind and id changed (`container`, `build`, `host`); empty body. */
  changed: (kind: 'container' | 'build' | 'host', id: string) => `slipway.changed.${kind}.${id}`,
  /** Ingest → event streams: there are new events; empty body. */
  events: 'slipway.changed.events',
  /** Agent → API: frames (`stream-frame.ts`) that answer a request which named this nonce. */
  stream: (nonce: string) => `slipway.stream.${nonce}`,
  /** API → agent: the highest `seq` consumed, as flow control and as a sign of life. */
  streamAck: (nonce: string) => `slipway.stream.${nonce}.ack`,
  /** API → agent: frames the other way, where the request takes them. */
  streamInput: (nonce: string) => `slipway.stream.${nonce}.in`,
  /** Agent → API: the same as `streamAck`, for the other way. */
  streamInputAck: (nonce: string) => `slipway.stream.${nonce}.in.ack`,
  /** API → the agent that takes it: a build waits; its id. Kept by `BUILD_QUEUE`. */
  queuedBuilds: 'slipway.queue.builds',
  /** API → nobody: does the bus take messages? */
  probe: 'slipway.probe',
} as const

/** The doorbell of builds that wait for a host: whoever takes a message asks the API for that build. */
export const BUILD_QUEUE = {
  ...{ name: 'SLIPWAY_BUILDS', subject: SUBJECTS.queuedBuilds },
  ...{ maxMessages: 10_000, maxAgeMs: 10 * 60_000, takerMs: 30_000, maxTakes: 20 },
} as const satisfies WorkQueue
/** What agents' answers are named after: they may not listen to those of the API. */
export const AGENT_INBOXES = '_INBOX_agents'

/** Frames the agent may send ahead of the last acknowledged one. */
export const STREAM_WINDOW = 64
/** Of one frame; with the window, what a stream holds in memory at most is 16 MiB. NATS takes 1 MiB a message. */
export const STREAM_FRAME_BYTES = 256 * 1024
/** A stream whose reader said nothing for this long is given up; a reader acknowledges at least every third of it. */
export const STREAM_IDLE_MS = 30_000

const session = { containerId: idSchema<ContainerId>(), execId: idSchema<ExecId>() }

/** What a host is asked to send, or to do and to tell of. */
export const streamOrderSchema = z.discriminatedUnion('kind', [
  /** A `LogLine` in JSON on each line. */
  z.object({
    kind: z.literal('logs'),
    containerId: idSchema<ContainerId>(),
    follow: z.boolean(),
    /** Only the last N lines; left out: all of them. */
    tail: z.int().min(0).optional(),
    /** Only lines at or after this time (milliseconds since 1970). */
    sinceMs: z.number().optional(),
    stdout: z.boolean(),
    stderr: z.boolean(),
  }),
  /** What a container changed in its image's files: a `FileChange` in JSON on each line. */
  z.object({ kind: z.literal('changes'), containerId: idSchema<ContainerId>() }),
  /** Its last health checks, a `HealthLog` in JSON on a line. */
  z.object({ kind: z.literal('health'), containerId: idSchema<ContainerId>() }),
  /** A container's filesystem as a tar. */
  z.object({ kind: z.literal('export'), containerId: idSchema<ContainerId>() }),
  /** Runs a process in a container: its `ExecSession` in JSON on a line, once it runs or could not. Repeated, it runs once. */
  z.object({ kind: z.literal('exec'), ...session, spec: execSpecSchema }),
  /** An `ExecSession` in JSON on a line; with a wait, once it has ended or the time is over. */
  z.object({ kind: z.literal('exec-state'), ...session, waitMs: z.int().min(0).max(300_000) }),
  /** Every session of a container that is remembered, an `ExecSession` in JSON on each line. */
  z.object({ kind: z.literal('exec-list'), containerId: idSchema<ContainerId>() }),
  /** The session's new state, as above. */
  z.object({ kind: z.literal('exec-resize'), ...session, size: terminalSizeSchema }),
  /** Messages of `channels.ts`, both ways: what the process reads and writes, and how it ends. */
  z.object({ kind: z.literal('exec-attach'), ...session }),
  /** The same of a container's first process. */
  z.object({ kind: z.literal('attach'), containerId: idSchema<ContainerId>() }),
  /** What it gave up, a `PrunedHost` in JSON on a line, once it is gone. Repeated, it finds less. */
  z.object({
    kind: z.literal('prune'),
    images: z.boolean(),
    buildCache: z.boolean(),
    unusedForMs: z.int().min(0),
    /** Of the build cache; left out: nothing of it is kept. */
    keepBytes: z.int().min(0).optional(),
  }),
])
export type StreamOrder = z.infer<typeof streamOrderSchema>
export type PruneOrder = Extract<StreamOrder, { kind: 'prune' }>
export type ExecOrder = Extract<StreamOrder, { kind: 'exec' | 'exec-state' | 'exec-list' | 'exec-resize' }>
/** Those that take frames the other way, too. */
export type AttachOrder = Extract<StreamOrder, { kind: 'exec-attach' | 'attach' }>
export type ContainerOrder = Exclude<StreamOrder, PruneOrder | ExecOrder | AttachOrder>
export type LogsOrder = Extract<StreamOrder, { kind: 'logs' }>

export const streamRequestSchema = z.object({ nonce: z.string().regex(/^[a-z2-7]{32}$/), order: streamOrderSchema })
/** Who asked, also where nobody understands for what: that can be answered. */
export const streamAskerSchema = streamRequestSchema.pick({ nonce: true })
export type StreamRequest = z.infer<typeof streamRequestSchema>

export const logLineSchema = z.object({
  /** RFC 3339 with nanoseconds, as the monitor wrote it. */
  time: z.string(),
  stream: z.enum(['stdout', 'stderr']),
  /** Without its newline, unless `isPartial`. */
  text: z.string(),
  /** The line goes on in the next entry of this stream. */
  isPartial: z.boolean(),
})
export type LogLine = z.infer<typeof logLineSchema>
