import { Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { extract, type Header } from 'tar-stream'
import type { z } from 'zod'
import { imageConfigSchema, imageManifestSchema } from '#shared/domain/image.ts'

export interface ReadImage {
  manifest: z.infer<typeof imageManifestSchema>
  config: z.infer<typeof imageConfigSchema>
  /** Without a slash at the front or the end → `f 644 0:0 text`, `d 755 0:0`, `l target`. */
  files: Map<string, string>
}

/** An image as a registry's client gets it, its layers one over the other (OCI image-spec, "Layer changesets"). */
export async function readImage(url: string, token: string, repository: string, tag: string): Promise<ReadImage> {
  const get = async (path: string) => {
    const headers = { authorization: `Bearer ${token}`, accept: 'application/vnd.oci.image.manifest.v1+json' }
    const answer = await fetch(new URL(`/v2/${repository}/${path}`, url), { headers })
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
    return Buffer.from(await answer.arrayBuffer())
  }
  const manifest = imageManifestSchema.parse(JSON.parse((await get(`manifests/${tag}`)).toString()))
  const config = imageConfigSchema.parse(JSON.parse((await get(`blobs/${manifest.config.digest}`)).toString()))
  const files = new Map<string, string>()
  for (const { digest } of manifest.layers) await applyLayer(files, await get(`blobs/${digest}`))
  return { manifest, config, files }
}

const TEXT_LIMIT = 2000
/** RFC 8878, 3.1.1. */
const ZSTD_MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd])

export async function applyLayer(files: Map<string, string>, blob: Buffer): Promise<void> {
  const entries = extract()
  const bytes = Readable.from([blob], { objectMode: false })
  const isZipped = blob[0] === 0x1f && blob[1] === 0x8b
  if (isZipped) bytes.pipe(createGunzip()).pipe(entries)
  else if (blob.subarray(0, ZSTD_MAGIC.length).equals(ZSTD_MAGIC)) bytes.pipe(createZstdDecompress()).pipe(entries)
  else bytes.pipe(entries)
  const added = new Map<string, string>()
  for await (const entry of entries) {
    const chunks: Buffer[] = []
    for await (const chunk of entry) chunks.push(Buffer.from(chunk as Uint8Array))
    const path = entry.header.name.replace(/^(\.?\/)+/, '').replace(/\/$/, '')
    const [, folder = '', hidden] = /^(.*\/)?\.wh\.([^/]+)$/.exec(path) ?? []
    if (hidden === '.wh..opq') forget(files, folder)
    else if (hidden !== undefined) {
      files.delete(folder + hidden)
      forget(files, `${folder}${hidden}/`)
    } else if (path !== '') added.set(path, described(entry.header, Buffer.concat(chunks), added))
  }
  for (const [path, text] of added) {
    if (!text.startsWith('d ')) forget(files, `${path}/`)
    files.set(path, text)
  }
}

function forget(files: Map<string, string>, prefix: string): void {
  for (const path of files.keys()) if (path.startsWith(prefix)) files.delete(path)
}

function described(header: Header, bytes: Buffer, added: ReadonlyMap<string, string>): string {
  const { type, mode = 0, uid = 0, gid = 0, linkname = '' } = header
  // Docker's and buildah's tars have the type in the mode, too.
  const owner = `${(mode & 0o7777).toString(8)} ${uid}:${gid}`
  if (type === 'directory') return `d ${owner}`
  if (type === 'symlink') return `l ${linkname}`
  if (type === 'link') return added.get(linkname.replace(/^(\.?\/)+/, '')) ?? `h ${linkname}`
  return `f ${owner} ${bytes.subarray(0, TEXT_LIMIT).toString()}`
}
