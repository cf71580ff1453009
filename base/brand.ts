declare const brand: unique symbol;

/**
 * A value that passed its parser: structurally a `T`, but only the function that checked it may make one.
 * Code that receives a branded value never checks it again.
 */
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };
