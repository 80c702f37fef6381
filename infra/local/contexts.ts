import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type ApiClient, uploadContext } from './api-client.ts'

const execute = promisify(execFile)

/** Packs a folder as a gzip tar and uploads it as a build context. Returns the context's id. */
export async function uploadFolder(api: ApiClient, folder: string): Promise<string> {
  const temporary = await mkdtemp(join(tmpdir(), 'slipway-context-'))
  try {
    const tar = join(temporary, 'context.tar.gz')
    await execute('tar', ['-czf', tar, '-C', folder, '.'])
    return await uploadContext(api, tar)
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}
