import { z } from 'zod'
import { faultSchema } from '../domain/container.ts'
import type { ContainerId, HostId } from '../domain/ids.ts'
import { idSchema } from '../domain/ids.ts'

/**
 * What travels over NATS. Nothing here is truth: a doorbell says "read again", a stream answers a request that was
 * made over the bus, and both may be lost. NATS permissions: an agent subscribes to `slipway.host.>` and
 * `slipway.stream.*.ack`, and publishes to `slipway.stream.*` only.
 */
export const SUBJECTS = {
  /** API → agent: read the desired state again; empty body. */
  hostDoorbell: (id: HostId) => `slipway.host.${id}.generation`,
  /** API → agent: `LogsRequest`. */
  hostLogs: (id: HostId) => `slipway.host.${id}.logs`,
  /** Ingest → waiting requests: something of this kind and id changed (`container`, `build`, `host`); empty body. */
  changed: (kind: 'container' | 'build' | 'host', id: string) => `slipway.changed.${kind}.${id}`,
  /** Ingest → event streams: there are new events; empty body. */
  events: 'slipway.changed.events',
  /** Agent → API: `StreamFrame`s that answer a request which named this nonce. */
  stream: (nonce: string) => `slipway.stream.${nonce}`,
  /** API → agent: the highest `seq` consumed, as flow control and as a sign of life. */
  streamAck: (nonce: string) => `slipway.stream.${nonce}.ack`,
  /** API → nobody: does the bus take messages? */
  probe: 'slipway.probe',
} as const

/** Frames the agent may send ahead of the last acknowledged one. */
export const STREAM_WINDOW = 64
/** A stream whose reader said nothing for this long is given up; a reader acknowledges at least every third of it. */
export const STREAM_IDLE_MS = 30_000

export const logsRequestSchema = z.object({
  nonce: z.string().regex(/^[a-z2-7]{32}$/),
  containerId: idSchema<ContainerId>(),
  follow: z.boolean(),
  /** Only the last N lines; left out: all of them. */
  tail: z.int().min(0).optional(),
  /** Only lines at or after this time (milliseconds since 1970). */
  sinceMs: z.number().optional(),
  stdout: z.boolean(),
  stderr: z.boolean(),
})
export type LogsRequest = z.infer<typeof logsRequestSchema>

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

export const streamFrameSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('lines'), seq: z.int().min(1), lines: z.array(logLineSchema) }),
  /** A sign of life of a stream that has nothing to say. */
  z.object({ kind: z.literal('idle'), seq: z.int().min(1) }),
  z.object({ kind: z.literal('end'), seq: z.int().min(1), error: faultSchema.optional() }),
])
export type StreamFrame = z.infer<typeof streamFrameSchema>
