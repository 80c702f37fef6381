/** What went into an image besides its Dockerfile (SLSA's ResourceDescriptor). */
export interface Material {
  uri?: string
  name?: string
  /** By algorithm, in hex. */
  digest: Record<string, string>
}

/** What a build was told to do and by which instructions. */
export interface Recipe {
  /** Where it is in the context, its text, and that one's hash in hex. */
  dockerfile: { path: string; text: string; sha256: string }
  /** Ids of secrets and of keys for ssh; never their values. */
  secrets: string[]
  ssh: string[]
}

/** Kept while a build runs, for its provenance. */
export interface Materials {
  /** Whether anybody is going to ask: digests that only provenance needs are not worth computing otherwise. */
  readonly isAsked: boolean
  add(material: Material): void
  /** A step can have brought in what is not listed here. */
  reachedOut(): void
  recipeIs(recipe: Recipe): void
  list(): Material[]
  isHermetic(): boolean
  recipe(): Recipe | undefined
}

export function openMaterials(isAsked: boolean): Materials {
  const materials = new Map<string, Material>()
  let isHermetic = true
  let recipe: Recipe | undefined
  return {
    isAsked,
    add: material => void materials.set(JSON.stringify(material), material),
    reachedOut: () => {
      isHermetic = false
    },
    recipeIs: found => {
      recipe = found
    },
    list: () => [...materials].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, material]) => material),
    isHermetic: () => isHermetic,
    recipe: () => recipe,
  }
}
