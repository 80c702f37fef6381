import { SlipwayError } from '../errors.ts'
import type { BlobInfo, BlobStore, BlobWriter, ByteRange, WriterState } from './blob-store.ts'

/** A store within one process, for tests. Its signed URLs are served by `send` alone. */
export interface FakeBlobs extends BlobStore {
  readonly isDirect: boolean
  /** The next calls, writers' ones too, fail with `blob.store-failed` and do nothing. */
  failNext(calls: number): void
  /** From now on calls wait, until the returned function is called. */
  stall(): () => void
  /** PUTs to a signed URL; returns the answer's `ETag`. */
  send(url: string, bytes: Uint8Array): Promise<string>
  /** What unfinished writers hold, suspended ones too, in bytes. */
  pendingBytes(): number
}

const PAGE = 1000

/** `page`: keys a list returns at most at a time. */
export function fakeBlobs({ isDirect = false, page = PAGE }: { isDirect?: boolean; page?: number } = {}): FakeBlobs {
  const objects = new Map<string, Uint8Array>()
  const pending = new Map<string, Uint8Array[]>()
  const parts = new Map<string, Map<number, Uint8Array>>()
  const faults = openFaults()
  let lastId = 0
  const store = (key: string, bytes: Uint8Array) => void objects.set(key, bytes.slice())
  return {
    isDirect,
    failNext: faults.failNext,
    stall: faults.stall,
    send: (url, bytes) =>
      faults.pass(() => {
        const { pathname, searchParams } = new URL(url)
        const size = searchParams.get('size')
        if (size !== '' && Number(size) !== bytes.length)
          throw new SlipwayError('blob.size-mismatch', 'Another size came.')
        const [id, number] = [searchParams.get('upload'), searchParams.get('part')]
        if (id === null) store(pathname.slice('/upload/'.length), bytes)
        else (parts.get(id) ?? gone()).set(Number(number), bytes.slice())
        return `"${number}"`
      }),
    pendingBytes: () => sizeOf([...pending.values(), ...[...parts.values()].map(some => [...some.values()])].flat()),
    head: key => faults.pass(() => infoOf(objects.get(key))),
    get: (key, range) => faults.pass(() => found(objects.get(key), range)),
    put: (key, bytes, { ifAbsent = false } = {}) =>
      faults.pass(() => {
        if (ifAbsent && objects.has(key)) return false
        store(key, bytes)
        return true
      }),
    delete: key => faults.pass(() => void objects.delete(key)),
    list: (prefix, cursor = '') =>
      faults.pass(() => {
        const keys = [...objects.keys()].filter(key => key.startsWith(prefix) && key > cursor).sort()
        return { keys: keys.slice(0, page), cursor: keys.length > page ? keys[page - 1] : undefined }
      }),
    signUpload: (key, terms) =>
      faults.pass(() => ({ url: `memory:///upload/${key}?size=${terms.size ?? ''}`, headers: {} })),
    signDownload: key => faults.pass(() => `memory:///download/${key}`),
    openWriter: (key, state) =>
      faults.pass(() => {
        const from = state === undefined ? { id: String(++lastId), size: 0 } : parseState(state)
        const before = state === undefined ? [] : pending.get(from.id)
        if (!before) return gone()
        pending.set(from.id, [joined(before).slice(0, from.size)])
        return openFakeWriter({ id: from.id, isNew: state === undefined }, pending, faults, bytes => store(key, bytes))
      }),
    parts: {
      begin: () =>
        faults.pass(() => {
          const id = String(++lastId)
          parts.set(id, new Map())
          return id
        }),
      sign: (key, id, { number, size }) =>
        faults.pass(() => ({ url: `memory:///upload/${key}?size=${size}&upload=${id}&part=${number}`, headers: {} })),
      join: (key, id, tags, size) =>
        faults.pass(() => {
          const came = parts.get(id)
          if (!came && objects.get(key)?.length === size) return
          const whole = joined(tags.map((_, index) => came?.get(index + 1) ?? gone()))
          if (whole.length !== size) gone()
          store(key, whole)
          parts.delete(id)
        }),
      drop: (_key, id) => faults.pass(() => void parts.delete(id)),
    },
  }
}

function gone(): never {
  throw new SlipwayError('blob.not-found', 'This upload is no longer there: begin it again.')
}

function openFakeWriter(
  { id, isNew }: { id: string; isNew: boolean },
  pending: Map<string, Uint8Array[]>,
  faults: Faults,
  publish: (bytes: Uint8Array) => void,
): BlobWriter {
  let isOver = false
  const pieces = () => pending.get(id) ?? []
  return {
    write: bytes => faults.pass(() => void pieces().push(bytes.slice())),
    suspend: async () => {
      isOver = true
      try {
        return await faults.pass(() => JSON.stringify({ id, size: sizeOf(pieces()) }) as WriterState)
      } catch (error) {
        if (isNew) pending.delete(id)
        throw error
      }
    },
    complete: () =>
      faults.pass(() => {
        isOver = true
        publish(joined(pieces()))
        pending.delete(id)
      }),
    abort: () =>
      faults.pass(() => {
        if (!isOver) pending.delete(id)
        isOver = true
      }),
  }
}

interface Faults {
  pass<T>(work: () => T): Promise<T>
  failNext(calls: number): void
  stall(): () => void
}

function openFaults(): Faults {
  let failures = 0
  let open: Promise<void> = Promise.resolve()
  return {
    pass: async work => {
      await open
      if (failures === 0) return work()
      failures--
      throw new SlipwayError('blob.store-failed', 'The fake store was told to fail.')
    },
    failNext: calls => {
      failures = calls
    },
    stall: () => {
      const { promise, resolve } = Promise.withResolvers<void>()
      open = promise
      return resolve
    },
  }
}

function infoOf(bytes: Uint8Array | undefined): BlobInfo | undefined {
  return bytes && { size: bytes.length }
}

function found(bytes: Uint8Array | undefined, range?: ByteRange) {
  if (!bytes) return undefined
  const asked = range ? bytes.slice(range.start, range.end + 1) : bytes.slice()
  return { info: { size: bytes.length }, body: new Blob([asked]).stream() as ReadableStream<Uint8Array> }
}

function parseState(state: WriterState): { id: string; size: number } {
  return JSON.parse(state)
}

function sizeOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, piece) => sum + piece.length, 0)
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(sizeOf(pieces))
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}
