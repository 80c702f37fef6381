import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** The files of the image `busybox`, for peers. */
export async function busyboxTar(): Promise<{ tar: string } & AsyncDisposable> {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-bench-'))
  const tar = join(folder, 'busybox.tar.gz')
  await promisify(execFile)('sh', [join(import.meta.dirname, '../../infra/local/busybox-base.sh'), tar])
  return { tar, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) }
}
