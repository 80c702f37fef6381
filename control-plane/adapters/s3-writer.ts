import { z } from 'zod'
import { SlipwayError } from '#shared/errors.ts'
import type { BlobWriter, WriterState } from '#shared/ports/blob-store.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import { gatherBlocks } from './blocks.ts'

/** What a writer asks of an object store. Errors as the port has them, and what is named here. */
export interface PartStore {
  put(key: string, bytes: Uint8Array): Promise<void>
  /** Undefined when there is no such key. */
  read(key: string): Promise<Uint8Array | undefined>
  remove(key: string): Promise<void>
  /** Removes every key below a prefix. */
  clear(prefix: string): Promise<void>
  /** Begins a multipart upload; returns its id. */
  begin(key: string): Promise<string>
  /** Numbers count from 1. Returns the part's tag. `blob.not-found` when the upload is gone. */
  putPart(key: string, uploadId: string, number: number, bytes: Uint8Array): Promise<string>
  /** Makes the object of these parts, in this order; `size` is its whole. `blob.not-found` when the upload is gone. */
  join(key: string, uploadId: string, tags: readonly string[], size: number): Promise<void>
  /** Drops a multipart upload and its parts; one that is gone is no error. */
  drop(key: string, uploadId: string): Promise<void>
}

/** Keys below it are ours, hidden from lists, and never a blob's: a lifecycle rule may expire them after some days. */
export const PARTS_PREFIX = '.part/'
/** R2 wants all parts but the last of one size; S3 takes 5 MiB to 5 GiB, and 10,000 of them. */
const PART_BYTES = 8 * 1024 * 1024
const MAX_PARTS = 10_000

/**
 * `checkpoint` names an object with the bytes short of a part, and behind them the tags of the parts. It has a new name
 * each time, so that a state stays good while later ones are written. Tags are not in the state itself: some stores'
 * have 170 characters, 1.7 MB for the largest object. `before` is the last state's checkpoint, for removal.
 */
const stateSchema = z.object({
  uploadId: z.string().optional(),
  parts: z.int().min(0).max(MAX_PARTS),
  tailBytes: z.int().min(0),
  checkpoint: z.string().startsWith(PARTS_PREFIX).optional(),
  before: z.string().startsWith(PARTS_PREFIX).optional(),
})
type State = z.infer<typeof stateSchema>
const tagsSchema = z.array(z.string())

export interface WriterOptions {
  state?: WriterState | undefined
  /** Makes a part of a key that was never used before. */
  name(): string
  partBytes?: number
}

/** An object out of parts of `partBytes`, which go out while the next one fills; one shorter than a part is put plainly. */
export function s3Writer(store: PartStore, key: string, options: WriterOptions): BlobWriter {
  const { state } = options
  const opened: State = state === undefined ? { parts: 0, tailBytes: 0 } : stateSchema.parse(JSON.parse(state))
  const upload = openUpload(store, key, opened, options)
  let isTouched = false
  let isOver = false
  const refuseOver = () => {
    if (isOver) throw new SlipwayError('internal', 'This writer has ended.')
  }
  return {
    write: async bytes => {
      refuseOver()
      isTouched = true
      await upload.write(bytes)
    },
    suspend: async () => {
      refuseOver()
      isOver = true
      try {
        return JSON.stringify(isTouched ? await upload.checkpoint() : opened) as WriterState
      } catch (error) {
        if (state === undefined) await upload.drop().catch(() => {}) // The lifecycle rule takes what stays.
        throw error
      }
    },
    complete: async () => {
      refuseOver()
      await upload.finish()
      isOver = true
      // The object is whole: what a failure leaves here costs room until the lifecycle rule takes it, nothing else.
      if (state !== undefined) await upload.clear().catch(() => {})
    },
    abort: async () => {
      if (isOver) return
      await upload.drop()
      isOver = true
    },
  }
}

function openUpload(store: PartStore, key: string, opened: State, { name, partBytes = PART_BYTES }: WriterOptions) {
  const place = `${PARTS_PREFIX}${key}.tail/` // Keys have no dots: no other key's begins with this.
  const tags: string[] = []
  let { uploadId } = opened
  const sendPart = async (bytes: Uint8Array) => {
    if (tags.length === MAX_PARTS) throw tooLarge(partBytes)
    uploadId ??= await store.begin(key)
    tags.push(await store.putPart(key, uploadId, tags.length + 1, bytes))
  }
  const blocks = gatherBlocks(partBytes, sendPart)
  const ready = once(async () => {
    const { tail, tags: sent } = await readCheckpoint(store, opened)
    tags.push(...sent)
    await blocks.write(tail)
  })
  const clear = () => store.clear(place)
  return {
    clear,
    write: async (bytes: Uint8Array) => {
      await ready()
      await blocks.write(bytes)
    },
    checkpoint: async (): Promise<State> => {
      const tail = await blocks.settle()
      const made = place + name()
      await store.put(made, joined(tail, new TextEncoder().encode(JSON.stringify(tags))))
      // Should it stay, it goes with all others at the end.
      if (opened.before !== undefined) await store.remove(opened.before).catch(() => {})
      const next = { parts: tags.length, tailBytes: tail.length, checkpoint: made }
      return { ...next, ...(uploadId ? { uploadId } : {}), ...(opened.checkpoint ? { before: opened.checkpoint } : {}) }
    },
    finish: async () => {
      await ready()
      const tail = await blocks.settle()
      if (uploadId === undefined) return store.put(key, tail)
      const size = tags.length * partBytes + tail.length
      if (tail.length > 0) await sendPart(tail)
      await store.join(key, uploadId, tags, size)
    },
    drop: async () => {
      await Promise.allSettled([blocks.settle()]) // A part on its way would outlive the upload.
      if (uploadId !== undefined) await store.drop(key, uploadId)
      await clear()
    },
  }
}

async function readCheckpoint(store: PartStore, { checkpoint, tailBytes, parts }: State) {
  if (checkpoint === undefined) return { tail: new Uint8Array(0), tags: [] }
  const bytes = await store.read(checkpoint)
  if (bytes === undefined) throw new SlipwayError('blob.not-found', 'This upload is no longer there: begin it again.')
  const tags = tagsSchema.length(parts).parse(JSON.parse(new TextDecoder().decode(bytes.subarray(tailBytes))))
  return { tail: bytes.subarray(0, tailBytes), tags }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length)
  both.set(first)
  both.set(second, first.length)
  return both
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined
  return () => (done ??= work())
}

function tooLarge(partBytes: number): SlipwayError {
  const limit = MAX_PARTS * partBytes
  return new SlipwayError(
    'request.too-large',
    `The store takes objects of up to ${sizeInWords(limit)}: split this one.`,
  )
}
