import { z } from 'zod'
import type { Fault } from '../errors.ts'

/**
 * Messages between whoever is attached to a process and its host: a byte for the channel, then bytes. They are those of
 * Kubernetes' `v5.channel.k8s.io` (kubernetes.io, KEP-4006), which clients for exec and attach speak already.
 */
export const CHANNEL_PROTOCOL = 'v5.channel.k8s.io'

export const CHANNEL = {
  stdin: 0,
  stdout: 1,
  stderr: 2,
  /** How it ended, once: `AttachStatus` in JSON. */
  status: 3,
  /** `{"Width": columns, "Height": rows}`. */
  resize: 4,
  /** Ours, where the client asked for flow control: how many bytes of data were taken so far, in decimal. */
  taken: 5,
  /** One byte: the channel that gets nothing more. Of stdin it is its end. */
  close: 255,
} as const

/** Kubernetes' `Status` as far as its clients read it. */
export interface AttachStatus {
  metadata: Record<string, never>
  status: 'Success' | 'Failure'
  message?: string
  reason?: 'NonZeroExitCode' | 'InternalError'
  details?: { causes: { reason: 'ExitCode'; message: string }[] }
  code?: number
}

export function channelMessage(channel: number, bytes: Uint8Array): Uint8Array {
  const message = new Uint8Array(1 + bytes.length)
  message[0] = channel
  message.set(bytes, 1)
  return message
}

export const textMessage = (channel: number, text: string) => channelMessage(channel, new TextEncoder().encode(text))

/** An exit code as a shell has it; undefined when nobody knows it. */
export function exitStatus(exitCode: number | undefined): Uint8Array {
  const status: AttachStatus =
    exitCode === 0
      ? { metadata: {}, status: 'Success' }
      : exitCode === undefined
        ? failure('It ended, and its exit code is not known.')
        : {
            ...{ metadata: {}, status: 'Failure', reason: 'NonZeroExitCode' },
            message: `command terminated with exit code ${exitCode}`,
            details: { causes: [{ reason: 'ExitCode', message: String(exitCode) }] },
          }
  return textMessage(CHANNEL.status, JSON.stringify(status))
}

export const faultStatus = ({ message }: Fault) => textMessage(CHANNEL.status, JSON.stringify(failure(message)))

const failure = (message: string): AttachStatus => ({
  ...{ metadata: {}, status: 'Failure', message, reason: 'InternalError', code: 500 },
})

const sizeSchema = z.object({ Width: z.int().min(1).max(65_535), Height: z.int().min(1).max(65_535) })

/** What a resize message says; undefined for what is none. */
export function readResize(bytes: Uint8Array): { columns: number; rows: number } | undefined {
  try {
    const { Width, Height } = sizeSchema.parse(JSON.parse(new TextDecoder().decode(bytes)))
    return { columns: Width, rows: Height }
  } catch {
    return undefined
  }
}
