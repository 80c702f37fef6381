import { open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { readBootId } from '#worker/host/boot-id.ts'
import { readDurableJson, sweepHalfWritten, syncFolder, writeDurableJson } from '#worker/host/durable-file.ts'
import { syncfs } from '#worker/host/syscalls.ts'

const SUFFIX = '.whole'
const bootSchema = z.object({ bootId: z.string() })
const markSchema = z.object({ bytes: z.int().nonnegative() })

/**
 * Which entries of a folder have their bytes on the disk: `<name>.whole` beside them, written after a sync that nobody
 * waits for. An entry that appeared by a rename is whole for as long as the kernel runs; after a power cut, those
 * without a mark may have lost bytes. A mark also keeps how many bytes its entry takes.
 */
export class DurableMarks {
  readonly #folder: string
  readonly #measure: (path: string) => Promise<number>
  readonly #unmarked = new Set<string>()
  /** Of those, the ones that the sync under way is for. */
  #batch = new Set<string>()
  #writing: { name: string; done: Promise<void> } | undefined
  #marking: Promise<void> | undefined

  /** `measure` gives the bytes that an entry takes on the disk. */
  constructor(folder: string, measure: (path: string) => Promise<number>) {
    this.#folder = folder
    this.#measure = measure
  }

  /** Marks an entry once it is on the disk, some time. */
  markSoon(name: string): void {
    this.#unmarked.add(name)
    // A failure costs no more than making the entries again after a power cut.
    this.#marking ??= this.#markAll()
      .catch(() => this.#unmarked.clear())
      .finally(() => {
        this.#marking = undefined
      })
  }

  /** Before the entry itself goes. No mark is written after this: it would vouch for the next entry of the name. */
  async forget(name: string): Promise<void> {
    this.#unmarked.delete(name)
    this.#batch.delete(name)
    if (this.#writing?.name === name) await this.#writing.done.catch(() => {})
    await rm(this.#markOf(name), { force: true })
  }

  /** Resolves when every entry until now is marked. */
  async settled(): Promise<void> {
    while (this.#marking) await this.#marking
  }

  /** Bytes of an entry, out of its mark; those of one without are measured. */
  async sizeOf(name: string): Promise<number> {
    const text = await readFile(this.#markOf(name), 'utf8').catch(() => undefined)
    const known = text ? parsed(text) : undefined
    if (known !== undefined) return known
    const bytes = await this.#measure(join(this.#folder, name))
    if (text !== undefined) await this.#write(name, bytes) // An earlier version's, which kept no size.
    return bytes
  }

  /**
   * Removes of these entries, with `remove`, those that may have lost bytes in a power cut, and marks of entries that
   * are not there.
   */
  async sweep(names: readonly string[], remove: (name: string) => Promise<void>): Promise<void> {
    await sweepHalfWritten(this.#folder)
    const found = await readdir(this.#folder)
    const bootPath = join(this.#folder, 'boot.json')
    const bootId = await readBootId()
    const isSameBoot = (await readDurableJson(bootPath, bootSchema).catch(() => undefined))?.bootId === bootId
    const there = new Set(names)
    for (const mark of found.filter(name => name.endsWith(SUFFIX))) {
      if (!there.has(mark.slice(0, -SUFFIX.length))) await rm(join(this.#folder, mark), { force: true })
    }
    for (const name of names.filter(name => !found.includes(`${name}${SUFFIX}`))) {
      if (isSameBoot) this.markSoon(name)
      else await remove(name)
    }
    // Last, so that a crash before makes the next sweep look again.
    if (!isSameBoot) await writeDurableJson(bootPath, { bootId })
  }

  #markOf(name: string): string {
    return join(this.#folder, `${name}${SUFFIX}`)
  }

  #write(name: string, bytes: number): Promise<void> {
    return writeFile(this.#markOf(name), JSON.stringify({ bytes }))
  }

  async #markAll(): Promise<void> {
    while (this.#unmarked.size > 0) {
      this.#batch = new Set(this.#unmarked)
      this.#unmarked.clear()
      await this.#sync()
      for (const name of this.#batch) {
        this.#writing = { name, done: this.#mark(name) }
        await this.#writing.done
      }
      this.#writing = undefined
      await syncFolder(this.#folder)
    }
  }

  async #mark(name: string): Promise<void> {
    const path = join(this.#folder, name)
    const isThere = () =>
      stat(path).then(
        () => true,
        () => false,
      )
    if (!(await isThere())) return
    const bytes = await this.#measure(path).catch(() => undefined)
    // It may have left meanwhile.
    if (bytes !== undefined && (await isThere())) await this.#write(name, bytes)
  }

  async #sync(): Promise<void> {
    const folder = await open(this.#folder, 'r')
    try {
      await syncfs(folder.fd)
    } finally {
      await folder.close()
    }
  }
}

function parsed(text: string): number | undefined {
  try {
    return markSchema.parse(JSON.parse(text)).bytes
  } catch {
    return undefined // Torn by a power cut: it is measured again.
  }
}
