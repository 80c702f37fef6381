import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { endpointSchema } from '#shared/domain/container.ts'
import { isId } from '#shared/domain/ids.ts'
import { publishedPortSchema } from '#shared/domain/port.ts'

const attachmentSchema = z.object({ endpoint: endpointSchema, ports: z.array(publishedPortSchema) })
export type Attached = z.infer<typeof attachmentSchema>

/**
 * Which namespaces are this instance's, a file each, written before anything is made in the kernel: what a killed agent
 * left half made has its owner's name, and a table that somebody flushed is filled again from here.
 */
export interface Attachments {
  write(id: string, attached: Attached): Promise<void>
  /** Undefined also for one that was half written: nothing was made for it yet, but its name is listed. */
  read(id: string): Promise<Attached | undefined>
  remove(id: string): Promise<void>
  ids(): Promise<string[]>
}

export function attachmentFiles(folder: string): Attachments {
  const path = (id: string) => join(folder, id)
  return {
    write: async (id, attached) => {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      await writeFile(path(id), JSON.stringify(attached))
    },
    read: async id => {
      const text = await readFile(path(id), 'utf8').catch(() => '')
      return parse(text)
    },
    remove: id => rm(path(id), { force: true }),
    ids: async () => (await readdir(folder).catch(() => [])).filter(isId),
  }
}

function parse(text: string): Attached | undefined {
  try {
    return attachmentSchema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}
