import { createHash, randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, readdir, readFile, stat, unlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { SlipwayError } from '#shared/errors.ts'
import type { BlobStore, UploadTerms } from '#shared/ports/blob-store.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import { FileStream } from './file-stream.ts'
import { folderFailure, missing, openFolderParts, syncPath } from './folder-parts.ts'
import { folderSignedParts } from './folder-signed-parts.ts'
import { type SignedUrlOptions, type SignedUrls, signedUrls, type UrlTerms } from './folder-urls.ts'
import { openFolderWriter } from './folder-writer.ts'

/**
 * Blobs as files. Signed URLs are served by `folder-blob-routes.ts`, which checks size and digest of what comes before a
 * blob becomes visible; `openWriter` checks neither. `put` with `ifAbsent` needs a file system with hard links.
 */
export interface FolderBlobs extends BlobStore, Pick<SignedUrls, 'verify'> {
  /**
   * Takes in what a signed URL brings; returns the tag of a part. `blob.digest-mismatch`, `blob.size-mismatch`,
   * `request.too-large`, `host.disk-full`, `blob.not-found`: nothing stays then, or of a part nothing that counts.
   */
  write(key: string, bytes: Readable, terms: UrlTerms): Promise<string | undefined>
}

export interface FolderBlobOptions extends SignedUrlOptions {
  folder: string
}

const KEY = /^[a-z0-9]+(\/[a-z0-9]+)*$/
const PAGE = 1000

export async function openFolderBlobs(options: FolderBlobOptions): Promise<FolderBlobs> {
  const { folder } = options
  const parts = await openFolderParts(folder, options.clock.now())
  const urls = signedUrls(options)
  const signedParts = folderSignedParts(parts, urls, key => pathOf(key))
  const pathOf = (key: string) => {
    if (!KEY.test(key)) throw new SlipwayError('blob.not-found', 'There is no such blob.')
    return join(folder, key)
  }
  /** A part with these bytes, checked, and durable unless it may be lost, handed on; nothing stays when anything fails. */
  const takeIn = async <T>(bytes: Readable, terms: UploadTerms, handOn: (part: string) => Promise<T>) => {
    const part = parts.name()
    try {
      const output = createWriteStream(parts.pathOf(part), { flags: 'wx', mode: 0o600 })
      await pipeline(bytes, checking(terms), output)
      if (!terms.mayBeLost) await syncPath(parts.pathOf(part))
      return await handOn(part)
    } catch (error) {
      await parts.remove(part)
      throw folderFailure(error)
    }
  }
  const head = async (key: string) => {
    const info = await stat(pathOf(key)).catch(missing)
    return info?.isFile() ? { size: info.size } : undefined
  }
  return {
    isDirect: false,
    head,
    get: async (key, range) => {
      const info = await head(key)
      return info && { info, body: new FileStream(pathOf(key), range) }
    },
    put: async (key, bytes, { ifAbsent = false } = {}) => {
      const target = pathOf(key)
      return takeIn(Readable.from([bytes]), { expiresMs: 0 }, part =>
        ifAbsent ? parts.publishIfAbsent(part, target) : parts.publish(part, target).then(() => true),
      )
    },
    delete: async key => {
      await unlink(pathOf(key)).catch(missing)
    },
    list: (prefix, cursor) => listFolder(folder, prefix, cursor),
    signUpload: async (key, terms) => ({ url: urls.sign('PUT', key, terms), headers: {} }),
    signDownload: async (key, expiresMs) => urls.sign('GET', key, { expiresMs }),
    verify: urls.verify,
    write: async (key, bytes, terms) => {
      const target = pathOf(key)
      if (terms.part) return signedParts.write(terms.part, bytes, checking(terms))
      await takeIn(bytes, terms, part => parts.publish(part, target, !terms.mayBeLost))
      if (terms.mayBeLost) void syncPath(target).catch(() => {}) // Nobody waits, but it is soon as durable as others.
      return undefined
    },
    parts: signedParts,
    openWriter: async (key, state) => openFolderWriter(parts, pathOf(key), state),
  }
}

async function listFolder(folder: string, prefix: string, cursor = '') {
  const all = await readdir(folder, { recursive: true, withFileTypes: true })
  const keys = all
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .filter(key => key.startsWith(prefix) && KEY.test(key) && key > cursor)
    .sort()
  return { keys: keys.slice(0, PAGE), cursor: keys.length > PAGE ? keys[PAGE - 1] : undefined }
}

/** Passes bytes on while it counts and hashes them, as far as that is asked for; fails at the end, or at once when there are too many. */
function checking(terms: UploadTerms): Transform {
  const hash = terms.sha256 === undefined ? undefined : createHash('sha256')
  const limit = terms.size ?? terms.maxSize ?? Number.POSITIVE_INFINITY
  let size = 0
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length
      hash?.update(chunk)
      if (size <= limit) return done(null, chunk)
      done(new SlipwayError('request.too-large', `More than ${sizeInWords(limit)} came: this URL takes no more.`))
    },
    flush(done) {
      done(mismatch(terms, size, hash?.digest('hex')))
    },
  })
}

function mismatch(terms: UploadTerms, size: number, sha256: string | undefined): SlipwayError | undefined {
  if (terms.size !== undefined && size !== terms.size) {
    const message = `${size} bytes came, ${terms.size} were announced: upload it again, whole.`
    return new SlipwayError('blob.size-mismatch', message)
  }
  if (terms.sha256 !== undefined && sha256 !== terms.sha256) {
    const message = 'The bytes do not have the announced digest: upload them again.'
    return new SlipwayError('blob.digest-mismatch', message)
  }
  return undefined
}

/** Reads the signing secret, or makes it at the first start. */
export async function readSecret(path: string): Promise<Buffer> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await writeFile(path, randomBytes(32), { mode: 0o600, flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  return readFile(path)
}
