import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { chmod, chown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { SlipwayError } from '#shared/errors.ts'
import { fileNameOf } from '../dockerfile/remote.ts'
import type { CopyStep } from '../dockerfile/step.ts'
import { runAny } from '../host/run.ts'
import { SANDBOX_USER, sandboxed } from '../source/sandbox.ts'
import { openBuildNetwork } from './build-network.ts'
import type { SharedWork } from './build-work.ts'
import { latin1 } from './byte-paths.ts'
import type { CopySource } from './copy-sources.ts'
import { ownFolder } from './source-folders.ts'

const FETCH_MS = 15 * 60_000
const OPTIONS = [
  ...['--silent', '--show-error', '--fail', '--globoff', '--location', '--max-redirs', '10', '--remote-time'],
  ...['--proto', '=http,https', '--proto-redir', '=http,https', '--connect-timeout', '30', '--retry', '2'],
]

/**
 * The file that ADD names by an address: at most 16 GiB, ten redirects and 15 minutes. Its mode is 0600 and its time what
 * the server says, as Docker has it. Errors: `build.step-failed`.
 */
export async function fetchFile(
  work: SharedWork,
  url: string,
  { to, checksum }: Pick<CopyStep, 'to' | 'checksum'>,
): Promise<CopySource> {
  const name = fileNameOf(url)
  if (name === undefined && to.endsWith('/')) {
    throw failed(`${shown(url)} has no name for a file: write the file's name at the end of the destination`)
  }
  const own = await ownFolder(work)
  const folder = join(own, 'download')
  await mkdir(folder, { mode: 0o700 })
  await chown(folder, SANDBOX_USER, SANDBOX_USER)
  const path = join(folder, 'file')
  await using network = await openBuildNetwork(work, own)
  const { signal } = work
  const curl = ['--output', '/tmp/file', ...OPTIONS, '--config', '-']
  const { program, args, env } = sandboxed({ folder, signal, enter: network.enter }, 'curl', curl, {})
  // An address may have a password in it, and arguments are for all to read.
  const input = `url = "${quoted(url)}"\n`
  const result = await runAny(program, args, { env, input, timeoutMs: FETCH_MS, signal }).catch((cause: unknown) => {
    if (!(cause instanceof SlipwayError) || cause.facts.isOverdue !== true) throw cause
    throw failed(
      `${shown(url)} took longer than ${FETCH_MS / 60_000} minutes: ADD it from a faster server, or COPY it from the context`,
    )
  })
  if (result.exitCode !== 0) throw failed(`${shown(url)} could not be fetched: ${result.stderr.trim().slice(0, 500)}`)
  if (checksum !== undefined) await compare(path, url, checksum)
  if (work.materials.isAsked) work.materials.add({ uri: shown(url), digest: { sha256: await hashOf('sha256', path) } })
  await chown(path, 0, 0)
  await chmod(path, 0o600)
  return { path: latin1(path), name: latin1(name ?? 'file'), isFolder: false, parents: [], isRemote: true }
}

async function compare(path: string, url: string, checksum: string): Promise<void> {
  const algorithm = checksum.slice(0, checksum.indexOf(':'))
  const has = `${algorithm}:${await hashOf(algorithm, path)}`
  if (has !== checksum)
    throw failed(`${shown(url)} has the checksum ${has}, and not the ${checksum} that was asked for`)
}

async function hashOf(algorithm: string, path: string): Promise<string> {
  const hash = createHash(algorithm)
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

/** Without a password that it may hold. */
export function shown(url: string): string {
  return url.replace(/\/\/[^/@]*@/, '//')
}

export function failed(why: string): SlipwayError {
  return new SlipwayError('build.step-failed', `${why}.`)
}

/** As curl's configuration files have a text between quotes (curl(1), "--config"): no line of it is another option. */
function quoted(text: string): string {
  return text.replace(/["\\]/g, '\\$&').replaceAll('\n', '\\n').replaceAll('\r', '\\r')
}
