import { createHash } from 'node:crypto'
import { type SavedState, SHA256 } from '@stablelib/sha256'
import { z } from 'zod'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import { SlipwayError } from '#shared/errors.ts'

/** SHA-256 of bytes that come in pieces. */
export interface RunningHash {
  update(bytes: Uint8Array): void
  /** Of the bytes so far; more may follow. */
  digest(): Digest
  /** What `resumableHash` goes on from in another process; undefined where it cannot. */
  state(): string | undefined
}

/** The platform's own, which cannot be put by: eight times as fast, for what one request brings whole. */
export function nativeHash(): RunningHash {
  const hash = createHash('sha256')
  return {
    update: bytes => void hash.update(bytes),
    digest: () => digestFromHex(hash.copy().digest('hex')),
    state: () => undefined,
  }
}

/** For what comes in chunks, a request each: so nobody reads all of it once more in the end. */
export function resumableHash(state?: string): RunningHash {
  const hash = new SHA256()
  if (state !== undefined) hash.restoreState(decode(state))
  return {
    update: bytes => void hash.update(bytes),
    digest: () => digestFromHex(Buffer.from(new SHA256().restoreState(hash.saveState()).digest()).toString('hex')),
    state: () => encode(hash.saveState()),
  }
}

const stateSchema = z.object({
  state: z.array(z.int()).length(8),
  /** What is short of a block, in base64. */
  rest: z.base64(),
  bytesHashed: z.int().min(0),
})

function encode({ state, buffer, bufferLength, bytesHashed }: SavedState): string {
  const rest = Buffer.from(buffer?.subarray(0, bufferLength) ?? []).toString('base64')
  return JSON.stringify({ state: [...state], rest, bytesHashed })
}

function decode(text: string): SavedState {
  const read = stateSchema.safeParse(JSON.parse(text))
  if (!read.success)
    throw new SlipwayError('internal', 'The hash of an upload cannot be gone on with: begin a new one.')
  const { state, rest, bytesHashed } = read.data
  const bytes = Buffer.from(rest, 'base64')
  const buffer = new Uint8Array(BUFFER_BYTES)
  buffer.set(bytes)
  return { state: Int32Array.from(state), buffer, bufferLength: bytes.length, bytesHashed }
}

/** Two blocks, as the library has it. */
const BUFFER_BYTES = 128
