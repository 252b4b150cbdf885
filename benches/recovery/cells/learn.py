# %%
import numpy as np
import pandas as pd
from sklearn import datasets, decomposition, ensemble, linear_model, metrics, model_selection, pipeline, preprocessing

# %%
digits = datasets.load_digits()
X, y = digits.data, digits.target
# %%
X_train, X_test, y_train, y_test = model_selection.train_test_split(X, y, random_state=0)
# %%
scaler = preprocessing.StandardScaler().fit(X_train)
# %%
pca = decomposition.PCA(30).fit(scaler.transform(X_train))
# %%
Z_train, Z_test = (pca.transform(scaler.transform(part)) for part in (X_train, X_test))
# %%
logistic = linear_model.LogisticRegression(max_iter=500).fit(Z_train, y_train)
# %%
scores = {"logistic": logistic.score(Z_test, y_test)}
# %%
forest = ensemble.RandomForestClassifier(200, random_state=0).fit(Z_train, y_train)
scores["forest"] = forest.score(Z_test, y_test)
# %%
boosted = ensemble.HistGradientBoostingClassifier(max_iter=40, random_state=0).fit(Z_train, y_train)
scores["boosted"] = boosted.score(Z_test, y_test)
# %%
confusion = pd.DataFrame(metrics.confusion_matrix(y_test, forest.predict(Z_test)))
# %%
report = metrics.classification_report(y_test, logistic.predict(Z_test), output_dict=True)
# %%
whole = pipeline.make_pipeline(
    preprocessing.StandardScaler(), decomposition.PCA(30), linear_model.LogisticRegression(max_iter=500)
)
cv = model_selection.cross_val_score(whole, X, y, cv=3)
# %%
grid = model_selection.GridSearchCV(
    whole, {"pca__n_components": [10, 20], "logisticregression__C": [0.1, 1.0]}, cv=3
).fit(X_train, y_train)
# %%
importances = pd.Series(forest.feature_importances_).sort_values(ascending=False)
# %%
diabetes = datasets.load_diabetes(as_frame=True).frame
# %%
ridge = linear_model.RidgeCV(np.logspace(-3, 3, 13)).fit(diabetes.drop(columns="target"), diabetes.target)
residuals = diabetes.target - ridge.predict(diabetes.drop(columns="target"))
# %% element
Z_train[5, 0] = 1.0
# %%
worst = diabetes.assign(residual=residuals).nlargest(10, "residual")
# %%
predictions = np.stack([model.predict(Z_test) for model in (logistic, forest, boosted)])
agree = (predictions == predictions[0]).all(axis=0).mean()
# %%
summary = (scores, float(cv.mean()), grid.best_params_, float(agree))
