import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { type ExecSession, execSessionSchema } from '#shared/domain/exec.ts'
import { type ContainerId, type ExecId, isId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { HostPorts } from './ports.ts'

export type ExecPorts = Pick<HostPorts, 'execs' | 'execFolder'>
export interface ExecKey {
  containerId: ContainerId
  execId: ExecId
}

const recordSchema = execSessionSchema
  .pick({ id: true, containerId: true, command: true, tty: true, stdin: true, startedAt: true, error: true })
  .extend({
    /** Of a process that could not be run: nothing else says how it ended. */
    exitCode: z.int().optional(),
    finishedAt: z.int().optional(),
    /** The monitor is about to be started, or was when the agent died. */
    isStarting: z.boolean(),
  })
export type ExecRecord = z.infer<typeof recordSchema>

/** The sessions of this host are folders, so that another agent finds them. */
export const execFolderOf = ({ execFolder }: Pick<ExecPorts, 'execFolder'>, { containerId, execId }: ExecKey) =>
  join(execFolder, containerId, execId)

export async function writeExecRecord(folder: string, record: ExecRecord): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, 'session.json')
  await writeFile(`${path}.part`, JSON.stringify(record), { mode: 0o600 })
  await rename(`${path}.part`, path)
}

/** A session as its files and the kernel have it. Errors: `exec.not-found`. */
export async function readExec(ports: ExecPorts, key: ExecKey): Promise<ExecSession> {
  const folder = execFolderOf(ports, key)
  const record = await readRecord(folder)
  if (!record) {
    const message = `Container ${key.containerId} has no exec session ${key.execId} (any more): ended ones are kept for a while only.`
    throw new SlipwayError('exec.not-found', message)
  }
  const { isStarting, ...said } = record
  if (said.error) return { ...said, state: 'exited' }
  const seen = await ports.execs.inspect(folder)
  if (seen.state === 'absent') return { ...said, state: isStarting ? 'running' : 'exited' }
  if (seen.state === 'running') return { ...said, state: 'running', pid: seen.pid }
  return { ...said, state: 'exited', exitCode: seen.exitCode, finishedAt: seen.finishedAt }
}

async function readRecord(folder: string): Promise<ExecRecord | undefined> {
  const text = await readFile(join(folder, 'session.json'), 'utf8').catch(() => undefined)
  try {
    return text === undefined ? undefined : recordSchema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

export async function listExecs(ports: ExecPorts, containerId: ContainerId): Promise<ExecSession[]> {
  const names = await readdir(join(ports.execFolder, containerId)).catch(() => [])
  const found = await Promise.all(
    names.filter(isId).map(name => readExec(ports, { containerId, execId: name as ExecId }).catch(() => undefined)),
  )
  return found.filter(session => session !== undefined).sort((a, b) => a.startedAt - b.startedAt)
}

/** Containers that have sessions. */
export async function listExecContainers({ execFolder }: Pick<ExecPorts, 'execFolder'>): Promise<ContainerId[]> {
  return (await readdir(execFolder).catch(() => [])).filter(isId) as ContainerId[]
}

export async function forgetExec(ports: ExecPorts, key: ExecKey): Promise<void> {
  const folder = execFolderOf(ports, key)
  await ports.execs.end(folder)
  await rm(folder, { recursive: true, force: true })
}

/** Of a container that has none any more: also what no record tells of. */
export async function forgetExecs({ execFolder }: Pick<ExecPorts, 'execFolder'>, id: ContainerId): Promise<void> {
  await rm(join(execFolder, id), { recursive: true, force: true })
}
