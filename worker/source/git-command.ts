import { SlipwayError } from '#shared/errors.ts'
import { runAny } from '../host/run.ts'
import { runStreamed } from '../host/run-streamed.ts'
import { type GitCredentials, masked, NO_CREDENTIALS } from './git-credentials.ts'
import { type Sandbox, sandboxed } from './sandbox.ts'

const COMMAND_MS = 30 * 60_000
const WHY_LIMIT = 1000

/** Nothing of the host's configuration, of a repository's wishes or of a person at a terminal. */
const CONFIG: [key: string, value: string][] = [
  ['core.hooksPath', '/dev/null'],
  ['core.fsmonitor', 'false'],
  ['tar.umask', '0022'], // Modes as a checkout has them.
  ['core.attributesFile', '/dev/null'],
  ['core.bigFileThreshold', '32m'], // Larger files are streamed, not held in memory.
  ['fetch.fsckObjects', 'true'],
  // Faults of old tools in the history of well-known repositories, which reach nothing here.
  ...['badTimezone', 'missingSpaceBeforeDate', 'zeroPaddedFilemode'].map((fault): [string, string] => [
    `fetch.fsck.${fault}`,
    'ignore',
  ]),
  ['fetch.unpackLimit', '1'],
  ['fetch.recurseSubmodules', 'false'],
  ['gc.auto', '0'],
  ['maintenance.auto', 'false'],
  ['http.followRedirects', 'false'], // An address that nobody named is not knocked at.
  ['http.lowSpeedLimit', '1000'],
  ['http.lowSpeedTime', '60'],
  ['advice.detachedHead', 'false'],
]

/** Runs git to its end and returns what it printed. Errors: `source.fetch-failed` with git's own words. */
export async function git(work: Sandbox, credentials: GitCredentials, args: readonly string[]): Promise<string> {
  const { program, args: all, env } = sandboxed(work, 'git', args, environment(credentials))
  const timeoutMs = work.commandMs ?? COMMAND_MS
  const result = await runAny(program, all, { env, timeoutMs, signal: work.signal }).catch((cause: unknown) => {
    if (!(cause instanceof SlipwayError) || cause.facts.isOverdue !== true) throw cause
    throw tooSlow(`git ${commandOf(args)}`, timeoutMs, cause)
  })
  if (result.exitCode === 0) return result.stdout
  throw failed(args, masked(result.stderr, credentials.hidden))
}

/** What git prints, as it comes. Errors as `git`. */
export async function* gitStream(work: Sandbox, args: readonly string[]): AsyncGenerator<Uint8Array> {
  const { program, args: all, env } = sandboxed(work, 'git', args, environment(NO_CREDENTIALS))
  try {
    yield* runStreamed(program, all, { env, timeoutMs: COMMAND_MS, signal: work.signal })
  } catch (error) {
    if (!(error instanceof SlipwayError) || typeof error.facts.stderr !== 'string') throw error
    throw failed(args, error.facts.stderr)
  }
}

function environment(credentials: GitCredentials): Record<string, string> {
  const config = [...CONFIG, ...credentials.config].flatMap(([key, value], at) => [
    [`GIT_CONFIG_KEY_${at}`, key],
    [`GIT_CONFIG_VALUE_${at}`, value],
  ])
  const checks = credentials.env.SLIPWAY_SSH_HOSTS ? 'yes' : 'accept-new'
  const options = ['BatchMode=yes', `StrictHostKeyChecking=${checks}`, 'UserKnownHostsFile=/mnt/known_hosts']
  const hardened = [...options, 'GlobalKnownHostsFile=/dev/null', 'IdentitiesOnly=yes', 'ConnectTimeout=30']
  return {
    ...{ GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null', GIT_TERMINAL_PROMPT: '0', GIT_ASKPASS: '' },
    GIT_ALLOW_PROTOCOL: 'https:http:ssh:git',
    GIT_CONFIG_COUNT: String(CONFIG.length + credentials.config.length),
    ...Object.fromEntries(config),
    GIT_SSH_COMMAND: `ssh -F /dev/null -i /mnt/key ${hardened.map(option => `-o ${option}`).join(' ')}`,
    ...credentials.env,
  }
}

/** Git tells its reasons last. */
function failed(args: readonly string[], stderr: string): SlipwayError {
  const why = stderr.trim().slice(-WHY_LIMIT) || 'it said nothing'
  return new SlipwayError('source.fetch-failed', `git ${commandOf(args)} failed: ${why}`)
}

function commandOf(args: readonly string[]): string {
  return args.find(arg => /^[a-z][a-z-]*$/.test(arg)) ?? 'command'
}

/** What took longer than it may, and what to do about that. */
export function tooSlow(what: string, limitMs: number, cause: unknown): SlipwayError {
  const advice = 'Try again when the server answers faster, or upload the files as a context.'
  const message = `${what} took longer than ${limitMs / 60_000} minutes and was ended. ${advice}`
  return new SlipwayError('source.fetch-failed', message, { cause })
}
