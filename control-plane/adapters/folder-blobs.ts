import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { SlipwayError } from '#shared/errors.ts'
import type { BlobStore, ByteRange, UploadTerms, WriterState } from '#shared/ports/blob-store.ts'
import type { Clock } from '#shared/ports/clock.ts'
import { fileStream } from './file-stream.ts'

/** Blobs as files. Signed URLs are served by `folder-blob-routes.ts`; bytes are verified before a blob becomes visible. */
export interface FolderBlobs extends BlobStore {
  /** Checks a signed URL's query for a method and key; throws `blob.url-invalid`. */
  verify(method: 'GET' | 'PUT', key: string, query: URLSearchParams): UploadTerms
  /** Takes bytes in: `blob.digest-mismatch`, `blob.size-mismatch`, `request.too-large`, `host.disk-full`; nothing stays then. */
  write(key: string, bytes: Readable, terms: UploadTerms): Promise<void>
  open(key: string, range?: ByteRange): Promise<{ size: number; stream: Readable } | undefined>
}

export interface FolderBlobOptions {
  folder: string
  /** Signs URLs; keep it secret, and the same over restarts. */
  secret: Buffer
  publicUrl: string
  clock: Clock
}

const KEY = /^[a-z0-9]+(\/[a-z0-9]+)*$/
const CHUNK_BYTES = 1024 * 1024
const PAGE = 1000

export async function openFolderBlobs(options: FolderBlobOptions): Promise<FolderBlobs> {
  const { folder } = options
  const temporary = join(folder, '.part')
  await rm(temporary, { recursive: true, force: true }) // What uploads of a killed process left.
  await mkdir(temporary, { recursive: true })
  const pathOf = (key: string) => {
    if (!KEY.test(key)) throw new SlipwayError('blob.not-found', 'There is no such blob.')
    return join(folder, key)
  }
  const sign = (text: string) => createHmac('sha256', options.secret).update(text).digest('hex')
  const signedUrl = (method: string, key: string, terms: UploadTerms) => {
    const query = new URLSearchParams({ expires: String(options.clock.now() + terms.expiresMs) })
    if (terms.size !== undefined) query.set('size', String(terms.size))
    if (terms.maxSize !== undefined) query.set('max', String(terms.maxSize))
    if (terms.sha256 !== undefined) query.set('sha256', terms.sha256)
    query.set('signature', sign(`${method}\n${key}\n${query}`))
    return `${options.publicUrl}/blobs/${key}?${query}`
  }
  const head = async (key: string) => {
    const info = await stat(pathOf(key)).catch(missing)
    return info && { size: info.size }
  }
  const openKey = async (key: string, range?: ByteRange) => {
    const info = await head(key)
    if (!info) return undefined
    return { size: info.size, stream: createReadStream(pathOf(key), { ...range, highWaterMark: CHUNK_BYTES }) }
  }
  const store: FolderBlobs = {
    isDirect: false,
    openWriter: async (key, state) => {
      const from = state ? JSON.parse(state) : { file: randomBytes(12).toString('hex'), offset: 0 }
      const path = join(temporary, from.file)
      const handle = await open(path, state ? 'r+' : 'w+')
      await handle.truncate(from.offset)
      let offset = from.offset
      let bufs = [Buffer.allocUnsafeSlow(1 << 20), Buffer.allocUnsafeSlow(1 << 20)]
      let fill = 0
      let pending: Promise<unknown> = Promise.resolve()
      const flush = async () => {
        await pending
        const b = bufs[0] as Buffer
        bufs = [bufs[1] as Buffer, b]
        if (fill > 0) pending = handle.write(b, 0, fill, offset)
        offset += fill
        fill = 0
      }
      return {
        write: async bytes => {
          let at = 0
          while (at < bytes.length) {
            const n = Math.min(bytes.length - at, (1 << 20) - fill)
            ;(bufs[0] as Buffer).set(bytes.subarray(at, at + n), fill)
            fill += n
            at += n
            if (fill === 1 << 20) await flush()
          }
        },
        suspend: async () => {
          await flush()
          await pending
          await handle.close()
          return JSON.stringify({ file: from.file, offset }) as WriterState
        },
        complete: async () => {
          await flush()
          await pending
          await handle.sync()
          await handle.close()
          await mkdir(dirname(pathOf(key)), { recursive: true })
          await rename(path, pathOf(key))
        },
        abort: async () => {
          await handle.close().catch(() => {})
          await rm(path, { force: true })
        },
      }
    },
    head,
    open: openKey,
    get: async (key, range) => {
      const info = await head(key)
      return info && { info, body: await fileStream(pathOf(key), range) }
    },
    put: (key, bytes) => store.write(key, Readable.from([bytes]), { expiresMs: 0 }),
    delete: async key => {
      await unlink(pathOf(key)).catch(missing)
    },
    list: async (prefix, cursor) => {
      const all = await readdir(folder, { recursive: true, withFileTypes: true })
      const keys = all
        .filter(entry => entry.isFile())
        .map(entry => join(entry.parentPath, entry.name).slice(folder.length + 1))
        .filter(key => key.startsWith(prefix) && KEY.test(key) && key > (cursor ?? ''))
        .sort()
      return { keys: keys.slice(0, PAGE), cursor: keys.length > PAGE ? keys[PAGE - 1] : undefined }
    },
    signUpload: async (key, terms) => ({ url: signedUrl('PUT', key, terms), headers: {} }),
    signDownload: async (key, expiresMs) => signedUrl('GET', key, { expiresMs }),
    verify: (method, key, query) => {
      const given = Buffer.from(query.get('signature') ?? '')
      const unsigned = new URLSearchParams([...query].filter(([name]) => name !== 'signature'))
      const right = Buffer.from(sign(`${method}\n${key}\n${unsigned}`))
      const isRight = given.length === right.length && timingSafeEqual(given, right)
      if (!isRight || Number(query.get('expires')) < options.clock.now()) {
        throw new SlipwayError(
          'blob.url-invalid',
          'This URL is not signed by us for this, or has expired: ask the API for a new one.',
        )
      }
      const count = (name: string) =>
        query.has(name) ? { [name === 'max' ? 'maxSize' : name]: Number(query.get(name)) } : {}
      const sha256 = query.get('sha256')
      return { expiresMs: 0, ...count('size'), ...count('max'), ...(sha256 ? { sha256 } : {}) }
    },
    write: async (key, bytes, terms) => {
      const target = pathOf(key)
      const part = join(temporary, randomBytes(12).toString('hex'))
      try {
        await pipeline(bytes, checking(terms), createWriteStream(part, { flags: 'wx', mode: 0o600 }))
        await sync(part)
        await mkdir(dirname(target), { recursive: true })
        await rename(part, target)
        await sync(dirname(target))
      } catch (error) {
        await unlink(part).catch(missing)
        throw asFailure(error)
      }
    },
  }
  return store
}

/** Passes bytes on while it counts and hashes them; fails at the end, or at once when there are too many. */
function checking(terms: UploadTerms): Transform {
  const hash = createHash('sha256')
  const limit = terms.size ?? terms.maxSize ?? Number.POSITIVE_INFINITY
  let size = 0
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length
      hash.update(chunk)
      if (size <= limit) return done(null, chunk)
      done(new SlipwayError('request.too-large', `More than ${limit} bytes came: this URL takes no more.`))
    },
    flush(done) {
      if (terms.size !== undefined && size !== terms.size) {
        return done(
          new SlipwayError(
            'blob.size-mismatch',
            `${size} bytes came, ${terms.size} were announced: upload it again, whole.`,
          ),
        )
      }
      if (terms.sha256 !== undefined && hash.digest('hex') !== terms.sha256) {
        return done(
          new SlipwayError('blob.digest-mismatch', 'The bytes do not have the announced digest: upload them again.'),
        )
      }
      done()
    },
  })
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function missing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

function asFailure(error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new SlipwayError('host.disk-full', 'The blob store has no room left: free some, then upload again.', {
      cause: error,
    })
  }
  return error
}

/** Reads the signing secret, or makes it at the first start. */
export async function readSecret(path: string): Promise<Buffer> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await writeFile(path, randomBytes(32), { mode: 0o600, flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  const handle = await open(path, 'r')
  try {
    return await handle.readFile()
  } finally {
    await handle.close()
  }
}
