import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CopyStep } from '../dockerfile/step.ts'
import type { BuildWork } from './build-work.ts'
import { latin1 } from './byte-paths.ts'
import type { CopySource } from './copy-sources.ts'
import { fetchFile } from './fetch-file.ts'
import { fetchRepository } from './fetch-repository.ts'

/** Sources of a step that are brought for it: what addresses name, and here-documents. */
export async function fetchedSources(work: BuildWork, step: CopyStep): Promise<CopySource[]> {
  const found: CopySource[] = []
  for (const url of step.urls) found.push(await fetchFile(work, url, step))
  for (const repository of step.repositories) found.push(await fetchRepository(work, repository, step))
  for (const document of step.documents) {
    const folder = await ownFolder(work)
    const path = join(folder, 'document')
    await writeFile(path, document.text, { mode: 0o644 })
    found.push({ path: latin1(path), name: latin1(document.name), isFolder: false, parents: [] })
  }
  return found
}

let made = 0

/** A new folder of the build's own. */
export async function ownFolder(work: Pick<BuildWork, 'folder'>): Promise<string> {
  const folder = join(work.folder, 'given', String(made++))
  await mkdir(folder, { recursive: true, mode: 0o755 })
  return folder
}
