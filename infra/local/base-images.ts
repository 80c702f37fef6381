import { execFile } from 'node:child_process'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type ApiClient, ApiError } from './api-client.ts'
import { type BuildPrinter, buildContext } from './builds.ts'
import { uploadFolder } from './contexts.ts'

const execute = promisify(execFile)

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const dockerfile = (shell: string) => `FROM scratch\nADD rootfs.tar.gz /\nENV PATH=${PATH}\nCMD ["${shell}"]\n`

export async function hasImage(api: ApiClient, reference: string): Promise<boolean> {
  try {
    await api.call('GET', `/v1/images/${encodeURIComponent(reference)}`)
    return true
  } catch (error) {
    if (error instanceof ApiError && error.problem.status === 404) return false
    throw error
  }
}

/** Builds `busybox:latest` through the API, out of Debian's busybox-static. */
export function buildBusybox(api: ApiClient, print: BuildPrinter): Promise<void> {
  return buildBase(api, 'busybox:latest', 'sh', print, rootfs =>
    execute('sh', [join(import.meta.dirname, 'busybox-base.sh'), rootfs]),
  )
}

/** Builds `debian:12` through the API; `cachedTar` keeps debootstrap's result, which takes a minute to make. */
export function buildDebian(api: ApiClient, cachedTar: string, print: BuildPrinter): Promise<void> {
  return buildBase(api, 'debian:12', 'bash', print, async rootfs => {
    await execute('sh', [join(import.meta.dirname, 'debian-base.sh'), cachedTar], { maxBuffer: 64 * 1024 * 1024 })
    await cp(cachedTar, rootfs)
  })
}

async function buildBase(
  api: ApiClient,
  tag: string,
  shell: string,
  print: BuildPrinter,
  makeRootfs: (tarPath: string) => Promise<unknown>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-base-'))
  try {
    await makeRootfs(join(folder, 'rootfs.tar.gz'))
    await writeFile(join(folder, 'Dockerfile'), dockerfile(shell))
    await buildContext(api, { context: await uploadFolder(api, folder), tags: [tag] }, print)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
