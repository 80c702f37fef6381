import { readFile, stat } from 'node:fs/promises'

/** The files that conmon writes: process ids, and how a process ended. */

export async function readPid(path: string): Promise<number | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return /^\d+$/.test(text.trim()) ? Number(text) : undefined
}

/** The exit file appears by a rename, whole. */
export async function readExit(path: string): Promise<{ exitCode: number; finishedAt: number } | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined)
  const info = text === undefined ? undefined : await stat(path).catch(() => undefined)
  if (text === undefined || !info || !/^\d+$/.test(text.trim())) return undefined
  return { exitCode: Number(text), finishedAt: Math.round(info.mtimeMs) }
}
