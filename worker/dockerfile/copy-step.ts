import { posix } from 'node:path'
import { parseMode } from './file-mode.ts'
import { flagOf, flagsOf, isOn } from './flags.ts'
import { pathPattern } from './glob.ts'
import { announced, bodyOf } from './heredoc.ts'
import type { Instruction } from './instruction.ts'
import { gitSource, isHttpUrl } from './remote.ts'
import { expandedText, type Scope } from './scope.ts'
import { type StageState, variablesOf } from './stage-state.ts'
import type { CopyStep, Document } from './step.ts'
import { expandWords, splitWords, WordError } from './words.ts'

/** COPY or ADD with everything that it asks for. Throws a WordError. Pure. */
export function copyStep(instruction: Instruction, state: StageState, scope: Scope): CopyStep {
  const isCopy = instruction.keyword === 'COPY'
  const flag = (name: string) => {
    const value = flagOf(instruction, name)
    return value === undefined ? undefined : expandedText(value, state, scope)
  }
  const { documents, paths, destination } = wordsOf(instruction, state, scope)
  const remotes = sortOut(paths, isCopy)
  const to = posix.resolve('/', state.config.WorkingDir ?? '', destination)
  const isFolder = /(^|\/)\.{0,2}$/.test(destination)
  if (paths.length + documents.length > 1 && !isFolder) {
    throw new WordError(`Several sources need a destination that is a folder: write ${destination}/`, destination)
  }
  return {
    kind: 'copy',
    ...remotes,
    documents,
    to: isFolder && to !== '/' ? `${to}/` : to,
    from: flag('from') || undefined,
    chown: flag('chown'),
    chmod: modeOf(flag('chmod')),
    unpacks: isCopy || !isOn(instruction, 'unpack', true) ? 'none' : isOn(instruction, 'unpack') ? 'all' : 'local',
    isLinked: isOn(instruction, 'link'),
    keepsParents: isOn(instruction, 'parents'),
    excludes: flagsOf(instruction, 'exclude').map(pattern => excluded(expandedText(pattern, state, scope))),
    keepsGit: isOn(instruction, 'keep-git-dir'),
    checksum: checksumOf(flag('checksum'), remotes),
  }
}

function wordsOf({ keyword, json, text, heredocs }: Instruction, state: StageState, scope: Scope) {
  const { escapeChar } = scope.dockerfile
  const written = json ?? splitWords(text, escapeChar)
  const documents: Document[] = []
  const others: string[] = []
  for (const word of written) {
    const found = json ? undefined : announced(word)
    const document = found && heredocs[documents.length]
    if (!document) others.push(word)
    else {
      const body = bodyOf(document)
      const isPlain = !document.isExpanded
      documents.push({
        name: document.name,
        text: isPlain ? body : expandedText(body, state, scope, { keepsQuotes: true }),
      })
    }
  }
  if (documents.length > 0 && announced(written.at(-1) ?? '')) {
    throw new WordError(`${keyword} cannot have a here-document as its destination`, written.at(-1))
  }
  const paths = expandWords(others, variablesOf(state), escapeChar, { onUnset: scope.onUnset }).filter(Boolean)
  const destination = paths.pop()
  if (destination === undefined || paths.length + documents.length === 0) {
    throw new WordError(`${keyword} takes one or more sources and a destination`, text)
  }
  return { documents, paths, destination }
}

type Sources = Pick<CopyStep, 'sources' | 'urls' | 'repositories'>

function sortOut(paths: readonly string[], isCopy: boolean): Sources {
  const found: Sources = { sources: [], urls: [], repositories: [] }
  for (const path of paths) {
    const repository = gitSource(path)
    if (isCopy && (isHttpUrl(path) || (repository && path.includes('://')))) {
      throw new WordError(`COPY takes files of the context or of a stage, and ${path} is an address: write ADD`, path)
    }
    if (!isCopy && repository) found.repositories.push(repository)
    else if (!isCopy && isHttpUrl(path)) found.urls.push(path)
    else found.sources.push(path)
  }
  return found
}

function modeOf(text: string | undefined): string | undefined {
  if (text !== undefined) parseMode(text)
  return text
}

function excluded(pattern: string): string {
  if (pathPattern(pattern)) return pattern
  throw new WordError(`--exclude takes a pattern such as *.log, not ${JSON.stringify(pattern)}`, pattern)
}

const CHECKSUM = /^(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$/

function checksumOf(text: string | undefined, { sources, urls, repositories }: Sources): string | undefined {
  if (text === undefined) return undefined
  if (sources.length > 0 || urls.length + repositories.length !== 1) {
    throw new WordError('--checksum is for one source, and for an address: take it away, or write two ADDs')
  }
  const isRight = urls.length === 1 ? CHECKSUM.test(text) : /^[0-9a-f]{40}([0-9a-f]{24})?$/.test(text)
  if (isRight) return text
  const example = urls.length === 1 ? 'sha256: and 64 hexadecimal digits' : 'a whole commit of a repository'
  throw new WordError(`--checksum takes ${example}, not ${JSON.stringify(text)}`, text)
}
