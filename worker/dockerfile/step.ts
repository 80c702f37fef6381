import type { GitSource } from './remote.ts'
import type { StageState } from './stage-state.ts'

/** What an instruction asks for, with every variable in its place. */
export type Step =
  | { kind: 'config'; state: StageState }
  /** Folders that are missing are made, as `user`'s. */
  | { kind: 'folder'; path: string; user: string; state: StageState }
  | RunStep
  | CopyStep

export interface RunStep {
  kind: 'run'
  args: string[]
  /** ARGs and proxies. */
  env: string[]
  /** A here-document with a first line of its own (`#!`): a file below `SCRIPT_FOLDER`. */
  script: Document | undefined
  mounts: RunMount[]
  network: 'default' | 'none' | 'host'
  security: 'sandbox' | 'insecure'
}

/** Where a command finds its script, as with BuildKit. */
export const SCRIPT_FOLDER = '/dev/pipes'

export interface Document {
  name: string
  text: string
}

/** Dockerfile reference, "RUN --mount". Targets are absolute; `mode` is a number, `uid` and `gid` are too. */
export type RunMount =
  | { type: 'bind'; target: string; source: string; from: string | undefined; isWritable: boolean }
  | CacheMount
  | { type: 'tmpfs'; target: string; sizeBytes: number | undefined }
  | SecretMount
  | (Owned & { type: 'ssh'; id: string; target: string; isRequired: boolean })

export interface Owned {
  mode: number
  uid: number
  gid: number
}

export interface CacheMount extends Owned {
  type: 'cache'
  id: string
  target: string
  isWritable: boolean
  sharing: 'shared' | 'private' | 'locked'
  /** What a new cache begins with. */
  from: string | undefined
  source: string
}

export interface SecretMount extends Owned {
  type: 'secret'
  id: string
  /** Undefined where it comes as a variable alone. */
  target: string | undefined
  env: string | undefined
  isRequired: boolean
}

export interface CopyStep {
  kind: 'copy'
  sources: string[]
  documents: Document[]
  /** ADD: addresses of files. */
  urls: string[]
  /** ADD: repositories. */
  repositories: GitSource[]
  /** Absolute; a slash at its end says that it is a folder. */
  to: string
  /** A stage by name or number, a named context, or an image; undefined is the context. */
  from: string | undefined
  chown: string | undefined
  /** As `parseMode` takes it. */
  chmod: string | undefined
  /** Which archives are unpacked: those of the context, those of addresses too, or none. */
  unpacks: 'local' | 'all' | 'none'
  /** Does not see what the layers below hold. */
  isLinked: boolean
  /** The folders of sources are made, too, from the context's root or from `/./` on. */
  keepsParents: boolean
  /** Patterns as `.dockerignore` has them. */
  excludes: string[]
  keepsGit: boolean
  /** `algorithm:hex` of the one address, or the commit of the one repository. */
  checksum: string | undefined
}
