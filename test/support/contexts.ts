import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { ApiClient } from '#infra/local/api-client.ts'
import { uploadFolder } from '#infra/local/contexts.ts'

/** Uploads a context with these files (path → content) and returns its id. */
export async function uploadFiles(api: ApiClient, files: Record<string, string | Uint8Array>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-files-'))
  try {
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(join(folder, path)), { recursive: true })
      await writeFile(join(folder, path), content)
    }
    return await uploadFolder(api, folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
